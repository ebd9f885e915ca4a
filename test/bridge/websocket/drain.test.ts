import { expect, test } from "vitest";
import { connect, TestClient } from "./client.ts";
import { startRealtime } from "./server.ts";

test("a drain closes connections with 4200, spread over the given time", async () => {
  const realtime = await startRealtime({ maxConnectionsPerUser: 1_000 });
  const token = realtime.token();
  const clients = await Promise.all(Array.from({ length: 300 }, () => connect(realtime.url, token)));
  const from = performance.now();
  const ends = clients.map(async ({ closed }) => ({ ...(await closed), at: performance.now() - from }));
  await realtime.sockets.drain(2_500);
  const closed = await Promise.all(ends);
  expect(new Set(closed.map(({ code }) => code))).toEqual(new Set([4200]));
  const at = closed.map((one) => one.at).sort((one, other) => one - other);
  expect(at.at(-1)).toBeLessThan(8_000);
  // The connections are not all closed at one moment.
  expect(at[150] ?? 0).toBeGreaterThan(100);
  expect((at.at(-1) ?? 0) - (at[0] ?? 0)).toBeGreaterThan(200);
});

test("a drain closes a few connections at once, and refuses new connections", async () => {
  const realtime = await startRealtime();
  const clients = [await connect(realtime.url, realtime.token()), await connect(realtime.url, realtime.token())];
  const from = performance.now();
  const drained = realtime.sockets.drain(10_000);
  for (const { closed } of clients) expect((await closed).code).toBe(4200);
  await drained;
  expect(performance.now() - from).toBeLessThan(5_000);
  await expect(new TestClient(realtime.url).opened()).rejects.toThrow("503");
});

test("the server stops without waiting for a drain in progress", async () => {
  const realtime = await startRealtime({ maxConnectionsPerUser: 1_000 });
  const token = realtime.token();
  const clients = await Promise.all(Array.from({ length: 100 }, () => connect(realtime.url, token)));
  void realtime.sockets.drain(60_000);
  const from = performance.now();
  await realtime.sockets.stop();
  expect(performance.now() - from).toBeLessThan(10_000);
  for (const { closed } of clients) expect((await closed).code).toBe(4200);
});
