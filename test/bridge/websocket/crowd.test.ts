import { expect, it, vi } from "vitest";
import { connect } from "./client.ts";
import { startRealtime } from "./server.ts";

const CLIENTS = 200;

it("two hundred clients that resume at once share the pages and get all events in order, while live delivery continues", async () => {
  const { url, token, event, journal, sockets } = await startRealtime();
  await Promise.all(Array.from({ length: 3_000 }, (_, index) => event("north", index)));
  const live = await connect(url, token("live"));
  await live.subscribe("dashboard");
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, (_, index) => connect(url, token(`user-${index}`))),
  );
  const replay = vi.spyOn(journal, "replay");
  const since = { epoch: journal.epoch, position: 1_000 };
  for (const client of clients) client.send({ type: "subscribe", channel: "dashboard", since });
  for (let index = 0; index < 50; index++) {
    await event("south", index);
    await live.events(index + 1);
  }
  const expected = Array.from({ length: 2_050 }, (_, index) => 1_001 + index);
  for (const client of clients) {
    const events = await client.events(expected.length);
    expect(events.map(({ position }) => position)).toEqual(expected);
  }
  // Ten pages must be read from the store. One read serves many clients, but rarely all of them, because they do not
  // ask at the same moment.
  expect(replay.mock.calls.length).toBeLessThan(CLIENTS);
  await expect.poll(() => sockets.stats().catchUp).toMatchObject({ waiting: 0, reading: 0 });
});

it("the server disconnects a resuming client when the store cannot be read, and the client can resume later", async () => {
  const { url, token, event, journal, sockets } = await startRealtime();
  await Promise.all(Array.from({ length: 1_500 }, (_, index) => event("north", index)));
  vi.spyOn(journal, "replay").mockRejectedValueOnce(new Error("unreadable"));
  const client = await connect(url, token());
  const since = { epoch: journal.epoch, position: 0 };
  await client.subscribe("dashboard", since);
  expect((await client.closed).code).toBe(4201);
  await expect.poll(() => sockets.stats().catchUp).toMatchObject({ waiting: 0, reading: 0 });
  const again = await connect(url, token());
  await again.subscribe("dashboard", since);
  expect(await again.events(1_500)).toHaveLength(1_500);
});
