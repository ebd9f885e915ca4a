import { expect, it } from "vitest";
import { clientFrame, SlowReader, upgradeRequest } from "../../support/slow-reader.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { connect } from "../websocket/client.ts";
import { startRealtime } from "../websocket/server.ts";

// 48 MB, more than the socket buffers of both ends can hold: the limits of Linux are 32 MiB and 4 MiB.
const COUNT = 240;
const BIG = "x".repeat(200_000);

it("a client that stops reading lags; when it reads again, it gets all events in order, but only the newest state", async () => {
  const { url, token, event, state, sockets } = await startRealtime();
  const slow = await connect(url, token("slow"));
  const live = await connect(url, token("live"));
  await slow.subscribe("dashboard");
  await live.subscribe("dashboard");
  slow.ws.pause();
  for (let index = 0; index < COUNT; index++) {
    await event("north", { index, BIG });
    await state("north", "storage", { index });
    await live.events(2 * index + 2);
  }
  expect(sockets.stats()).toMatchObject({ lagging: 1, healthy: 1 });
  const info = sockets.connections().find(({ user_id }) => user_id === "slow");
  expect(info?.lagging).toBe(true);
  // The memory that one client uses is bounded, however much was published.
  expect(info?.queued_bytes).toBeLessThan(2 * 262_144);

  slow.ws.resume();
  const { position } = await slow.next("lagging");
  const { position: end } = await slow.next("caught_up");
  expect(end).toBe(2 * COUNT);
  const events = slow.dashboardEvents;
  expect(events.map((message) => message.position)).toEqual(
    events.map((message) => message.position).toSorted((one, other) => one - other),
  );
  expect(events.filter(({ topic }) => topic === "cameras/north/events/capture.completed")).toHaveLength(COUNT);
  const states = events.filter(({ topic }) => topic === "cameras/north/state/storage");
  expect(states.at(-1)).toMatchObject({ data: { index: COUNT - 1 } });
  expect(states.filter((message) => message.position > position)).toHaveLength(1);
  expect(sockets.stats().lagging).toBe(0);

  await event("north", "new");
  expect((await slow.events(events.length + 1)).at(-1)).toMatchObject({ data: "new", position: 2 * COUNT + 1 });
});

it("the server disconnects a client that reads nothing for too long, and destroys the socket", async () => {
  const { url, token, event, sockets, accepted } = await startRealtime({ drainTimeoutMs: 300 });
  const slow = await connect(url, token("slow"));
  await slow.subscribe("dashboard");
  slow.ws.pause();
  while (sockets.stats().lagging === 0) await event("north", BIG);
  await expect.poll(() => sockets.stats().closes).toEqual({ 4208: 1 });
  expect(accepted[0]?.destroyed).toBe(true);
  expect(sockets.connections()).toEqual([]);
  expect(sockets.channelCounts()).toEqual({});
});

it("a client that reads slowly keeps its connection, although its queue takes longer than DRAIN_TIMEOUT_MS", async () => {
  const { url, token, event, sockets } = await startRealtime({ drainTimeoutMs: 3_000 });
  const requests = [
    { type: "auth", token: token("slow") },
    { type: "subscribe", channel: "dashboard" },
  ].map((request) => clientFrame(Buffer.from(JSON.stringify(request)), true));
  const { port, pathname } = new URL(url);
  const first = Buffer.concat([upgradeRequest(pathname), ...requests]);
  // 256 KiB take eight seconds.
  const slow = new SlowReader(Number(port), { first, bytesPerSecond: 32_768 });
  await expect.poll(() => sockets.stats().healthy).toBe(1);
  while (sockets.stats().lagging === 0) await event("north", BIG.slice(0, 4_000));
  const queued = slow.received + 262_144;
  await expect.poll(() => slow.isClosed || slow.received > queued).toBe(true);
  expect(slow.isClosed).toBe(false);
  expect(sockets.stats().closes).toEqual({});
});

it("the server queues at most one page for a resuming client that does not read, and sends the rest later", async () => {
  const { url, token, event, sockets, journal } = await startRealtime();
  for (let index = 0; index < COUNT; index++) await event("north", { index, BIG });
  const slow = await connect(url, token("slow"));
  slow.ws.pause();
  slow.send({ type: "subscribe", channel: "dashboard", since: { epoch: journal.epoch, position: 0 } });
  await expect.poll(() => sockets.connections()[0]?.queued_bytes).toBeGreaterThan(0);
  await event("south", "meanwhile");
  expect(sockets.connections()[0]?.queued_bytes).toBeLessThan(2 * 262_144);
  slow.ws.resume();
  await slow.next("caught_up");
  expect(slow.dashboardEvents.map(({ position }) => position)).toEqual(
    Array.from({ length: COUNT + 1 }, (_, index) => index + 1),
  );
});

it("the server sends a snapshot above the queue limit at the pace of the client, then the events that happened meanwhile", async () => {
  const { url, token, state, sockets } = await startRealtime();
  const cameras = Array.from({ length: COUNT }, (_, index) => `camera-${index}`);
  for (const camera of cameras) await state(camera, "storage", { camera, BIG });
  const slow = await connect(url, token("slow"));
  slow.ws.pause();
  slow.send({ type: "subscribe", channel: "dashboard" });
  await expect.poll(() => sockets.connections()[0]?.queued_bytes).toBeGreaterThan(0);
  expect(sockets.connections()[0]?.queued_bytes).toBeLessThan(2 * 262_144);
  await state("camera-7", "storage", "newer");
  slow.ws.resume();
  const events = await slow.events(COUNT + 1);
  expect(events.slice(0, -1).map(({ camera, snapshot }) => [camera, snapshot])).toEqual(
    cameras.map((camera) => [camera, true]),
  );
  expect(events.at(-1)).toMatchObject({ data: "newer", position: COUNT + 1 });
});

it("the server reports a gap to a client when retention removes events that the client has not read yet", async () => {
  const { url, token, event, sockets, journal } = await startRealtime({ retentionEvents: 20 });
  const slow = await connect(url, token("slow"));
  await slow.subscribe("camera:north");
  slow.ws.pause();
  while (sockets.stats().lagging === 0) await event("north", BIG);
  // More events than delivery keeps in memory, so that pages are read from the journal.
  for (let index = 0; index < 1_500; index++) await event("north", index);
  await journal.trim();
  slow.ws.resume();
  const { position: last } = await slow.next("lagging");
  const result = await slow.next("subscription_result");
  expect(result).toMatchObject({ channel: "camera:north", success: true, recovered: false, reason: "trimmed" });
  expect(result.gap?.after).toBe(last);
  const { position: end } = await slow.next("caught_up");
  expect(end).toBe(journal.head);
  const after = slow.dashboardEvents.filter(({ position }) => position > last).map(({ position }) => position);
  expect(after[0]).toBe(result.gap?.before);
  expect(after).toEqual(Array.from({ length: after.length }, (_, index) => end - after.length + 1 + index));
});

it("the server logs a lagging user once, however often the user reconnects, and logs the number of further times when it stops", async () => {
  const { logger: socketsLogger, lines } = recordingLogger();
  const { url, token, event, sockets } = await startRealtime({ socketsLogger });
  for (let connection = 1; connection <= 2; connection++) {
    const slow = await connect(url, token("slow"));
    await slow.subscribe("dashboard");
    slow.ws.pause();
    while (sockets.stats().lagging < connection) await event("north", BIG);
  }
  const lagging = () => lines.filter(({ msg }) => msg === "client is lagging");
  expect(lagging()).toMatchObject([{ user: "slow", times: 1 }]);
  await sockets.stop();
  expect(lagging()).toMatchObject([{ times: 1 }, { user: "slow", times: 1 }]);
});
