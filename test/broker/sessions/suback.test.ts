import { expect, it } from "vitest";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { closed, startTestBroker, topic } from "../broker-under-test.ts";

const FILTER = topic("cameras/#");

it.each([
  ["a new filter", [], 0],
  ["a filter with another QoS", [FILTER], 1],
  ["a filter again", [FILTER], 0],
] as const)("a client gets no SUBACK and is disconnected when the store cannot store %s", async (_, before, qos) => {
  const test = await startTestBroker();
  const password = test.token(["admin"]);
  const client = await test.client({ username: "u", password, clientId: "kept", clean: false });
  for (const filter of before) await client.subscribeAsync(filter, { qos: 0 });
  const rows = test.ingest.log?.rows;
  if (rows === undefined) throw new Error("the broker has no log");
  let fail = (_error: Error) => {};
  const flush = rows.flush;
  const flushed = new Promise<void>((_resolve, reject) => {
    fail = reject;
  });
  rows.flush = () => flushed;
  let hasAnswer = false;
  const subscribed = client.subscribeAsync(FILTER, { qos }).finally(() => {
    hasAnswer = true;
  });
  subscribed.catch(() => {});
  // PUBACK waits for a write, so SUBACK has had its time.
  await client.publishAsync("any/where", "1", { qos: 1 });
  expect(hasAnswer).toBe(false);
  const ended = closed(client);
  fail(new StoreUnavailableError("the disk is full"));
  await ended;
  rows.flush = flush;
  client.end(true);
  await expect(subscribed).rejects.toThrow();
});
