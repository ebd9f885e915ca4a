import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { connect } from "../websocket/client.ts";
import { startRealtime } from "../websocket/server.ts";

const CAMERAS = ["north", "south"];
const NAMES = ["power", "storage", "settings"];

/** The state that a client derives from its events. */
function stateFrom(events: readonly DashboardEvent[]): Record<string, unknown> {
  const state: Record<string, unknown> = {};
  for (const { topic = "", data } of events) {
    if (data === null) delete state[topic];
    else state[topic] = data;
  }
  return state;
}

it("a snapshot and the live events after it add up to the state, whenever a client subscribes", async () => {
  const { url, token, state, journal, event } = await startRealtime({ maxConnectionsPerUser: 1_000 });
  const change = fc.record({
    camera: fc.constantFrom(...CAMERAS),
    name: fc.constantFrom(...NAMES),
    data: fc.option(fc.nat(), { nil: null }),
    pause: fc.nat(2),
    subscribes: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 5, maxLength: 40 }), async (changes) => {
      const clients = await Promise.all(Array.from({ length: 6 }, () => connect(url, token())));
      const waiting = [...clients];
      const published: Promise<unknown>[] = [];
      for (const { camera, name, data, pause, subscribes } of changes) {
        published.push(state(camera, name, data));
        if (subscribes) waiting.pop()?.send({ type: "subscribe", channel: "dashboard" });
        for (let turns = 0; turns < pause; turns++) await turn();
      }
      for (const client of waiting) client.send({ type: "subscribe", channel: "dashboard" });
      await Promise.all(published);
      for (const client of clients) await client.next("subscription_result");
      const end = await event("north", null, "end");
      for (const client of clients) {
        await client.next("dashboard_event", ({ position }) => position === end);
        const truth = journal.snapshot("dashboard").map(({ topic, body }) => [topic, JSON.parse(`{${body}}`).data]);
        const events = client.dashboardEvents.filter((message) => message.event !== "end");
        expect(stateFrom(events)).toEqual(
          Object.fromEntries(truth.map(([topic, data]) => [String(topic).replace("skylapse/v1/", ""), data])),
        );
        client.ws.terminate();
      }
    }),
    { numRuns: 25 },
  );
});

it("each channel's events arrive once and in order, whenever and from whatever position a client subscribes", async () => {
  const { url, token, event, journal } = await startRealtime({ maxConnectionsPerUser: 1_000 });
  const channels = ["dashboard", "camera:north", "camera:south"];
  const subscription = fc.record({
    /** How many positions behind the head the subscription begins. Undefined: without `since`. */
    back: fc.option(fc.nat(60), { nil: undefined }),
    eventsBefore: fc.nat(30),
    pause: fc.nat(3),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(fc.shuffledSubarray(channels, { minLength: 1 }), fc.tuple(subscription, subscription, subscription)),
      async ([order, subscriptions]) => {
        const client = await connect(url, token());
        const begins = new Map<string, number>();
        const published: Promise<number>[] = [];
        const publish = () => published.push(event(CAMERAS[published.length % 2] ?? "", published.length));
        const first = journal.head;
        for (const [index, channel] of order.entries()) {
          const { back, eventsBefore, pause } = subscriptions[index] ?? { back: 0, eventsBefore: 0, pause: 0 };
          for (let count = 0; count < eventsBefore; count++) publish();
          for (let turns = 0; turns < pause; turns++) await turn();
          const position = Math.max(first, journal.head - (back ?? 0));
          if (back !== undefined) begins.set(channel, position);
          const since = back === undefined ? undefined : { epoch: journal.epoch, position };
          client.send({ type: "subscribe", channel, since });
        }
        for (let count = 0; count < 5; count++) publish();
        for (const channel of order) {
          const result = await client.next("subscription_result", (message) => message.channel === channel);
          if (!begins.has(channel)) begins.set(channel, result.position ?? 0);
        }
        const positions = await Promise.all(published);
        // Publishes one more event of each camera, so that every channel has a last event to wait for.
        positions.push(await event("north", "end"), await event("south", "end"));
        const camera = new Map(positions.map((position, index) => [position, CAMERAS[index % 2]]));
        camera.set(positions.at(-2) ?? 0, "north").set(positions.at(-1) ?? 0, "south");
        for (const wanted of order) {
          const expected = positions.filter(
            (position) =>
              position > (begins.get(wanted) ?? 0) &&
              (wanted === "dashboard" || wanted === `camera:${camera.get(position)}`),
          );
          const arrived = () =>
            client.dashboardEvents.some(
              ({ position, channel, channels = [channel] }) =>
                position === expected.at(-1) && channels.includes(wanted),
            );
          while (!arrived()) await client.next("dashboard_event");
          const got = client.dashboardEvents
            .filter(({ channel, channels = [channel] }) => channels.includes(wanted))
            .map(({ position }) => position);
          expect(got).toEqual(expected.toSorted((one, other) => one - other));
        }
        client.ws.terminate();
      },
    ),
    { numRuns: 60 },
  );
});
