import { describe, expect, it } from "vitest";
import { type BrokerUnderTest, inboxOf, NORTH, startTestBroker, topic } from "../broker-under-test.ts";

const STATES = 300;
const LAST = 4;

const SUBSCRIBERS = [true, false].flatMap((clean) => ([0, 1] as const).map((qos) => ({ clean, qos })));

function watcherOf(test: BrokerUnderTest, clean: boolean) {
  return test.client({ username: "u", password: test.token(["camera:read"]), clientId: `watcher ${clean}`, clean });
}

describe.each(SUBSCRIBERS)("a subscriber with QoS $qos, clean session: $clean", ({ clean, qos }) => {
  it("gets no retained message after a newer one, and none twice", async () => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    const names = Array.from({ length: STATES }, (_, index) => topic(`cameras/north/state/s-${index}`));
    const publishAll = (value: number) =>
      Promise.all(names.map((name) => north.publishAsync(name, String(value), { qos: 1, retain: true })));
    await publishAll(1);
    const watcher = await watcherOf(test, clean);
    const inbox = inboxOf(watcher);
    const subscribed = watcher.subscribeAsync(topic("cameras/north/state/#"), { qos });
    for (let value = 2; value <= LAST; value++) await publishAll(value);
    await subscribed;
    const valuesOfAll = () => {
      const values = new Map(names.map((name) => [name, [] as number[]]));
      for (const { topic, payload } of inbox.messages) values.get(topic)?.push(Number(payload));
      return [...values.values()];
    };
    await expect.poll(() => valuesOfAll().every((values) => values.at(-1) === LAST)).toBe(true);
    const all = valuesOfAll();
    expect(all).toEqual(all.map((values) => [...new Set(values)].toSorted()));
  });

  it("gets a message again as retained for each later SUBSCRIBE [MQTT-3.8.4-3]", async () => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    const watcher = await watcherOf(test, clean);
    const inbox = inboxOf(watcher);
    const state = topic("cameras/north/state/x");
    await watcher.subscribeAsync(state, { qos });
    await north.publishAsync(state, "1", { qos: 1, retain: true });
    await inbox.has(1);
    for (const filter of [state, topic("cameras/north/#"), state]) {
      await watcher.subscribeAsync(filter, { qos });
      const live = inbox.messages.length + 1;
      expect((await inbox.has(live)).at(-1)).toMatchObject({ payload: "1", retain: true });
    }
    expect(inbox.messages.map(({ retain }) => retain)).toEqual([false, true, true, true]);
  });
});
