import { expect, it } from "vitest";
import { nodes } from "../redis-nodes.ts";
import { connect5, userOf } from "./client5.ts";

it("a session of MQTT 5 moves from node to node with its filters, options and messages, and the old connection gets 0x8e", async () => {
  const cluster = await nodes();
  const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
  const options = { ...userOf(a, ["admin"]), clean: false, properties: { sessionExpiryInterval: 60 } };
  const first = await connect5(a, options);
  await first.subscribe("a/#", { qos: 2, identifier: 7, nl: true });
  const writer = await connect5(b, userOf(b, ["admin"], "writer"));
  await writer.publish("a/b", "1", { properties: { contentType: "x/y" } });
  expect(await first.next("publish")).toMatchObject({ properties: { contentType: "x/y", subscriptionIdentifier: 7 } });
  // Not acknowledged at the first node.
  const second = await connect5(b, options);
  expect((await first.next("disconnect")).reasonCode).toBe(0x8e);
  expect(await second.next("publish")).toMatchObject({
    payload: Buffer.from("1"),
    properties: { contentType: "x/y", subscriptionIdentifier: 7 },
  });
  // No local holds at every node.
  await second.publish("a/own", "2");
  const other = await connect5(a, userOf(a, ["admin"], "other"));
  await other.publish("a/qos0", "3", { qos: 0, properties: { contentType: "z" } });
  expect(await second.next("publish")).toMatchObject({
    ...{ topic: "a/qos0", qos: 0 },
    properties: { contentType: "z", subscriptionIdentifier: 7 },
  });
});
