import { expect, it } from "vitest";
import { inboxOf, NORTH, startTestBroker, topic } from "../broker-under-test.ts";

const STATES = 300;
const LAST = 4;

it("the broker never delivers an older retained message after a newer one", { timeout: 20_000 }, async () => {
  const test = await startTestBroker();
  const north = await test.client(NORTH);
  const names = Array.from({ length: STATES }, (_, index) => topic(`cameras/north/state/s-${index}`));
  const publishAll = (value: number) =>
    Promise.all(names.map((name) => north.publishAsync(name, String(value), { qos: 1, retain: true })));
  await publishAll(1);
  const watcher = await test.client({ username: "u", password: test.token(["camera:read"]) });
  const inbox = inboxOf(watcher);
  const subscribed = watcher.subscribeAsync(topic("cameras/north/state/#"), { qos: 1 });
  for (let value = 2; value <= LAST; value++) await publishAll(value);
  await subscribed;
  const valuesOf = (name: string) =>
    inbox.messages.filter((message) => message.topic === name).map(({ payload }) => Number(payload));
  await expect.poll(() => names.every((name) => valuesOf(name).at(-1) === LAST)).toBe(true);
  for (const name of names) expect(valuesOf(name)).toEqual(valuesOf(name).toSorted());
});
