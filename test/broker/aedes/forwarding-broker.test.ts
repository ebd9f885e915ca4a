import { expect, test } from "vitest";
import { ForwardingBroker } from "../../../broker/aedes/forwarding-broker.ts";
import type { DeliveredPacket } from "../../../broker/aedes/propertied-packet.ts";
import type { LoggedPublication, StoredProperties } from "../../../platform/publication-log.ts";

const NOW = 1_800_000_000_000;

/** A broker that follows a log of the test. */
function following() {
  const broker = new ForwardingBroker({ id: "one" });
  let publish = (_: readonly LoggedPublication[]) => {};
  const log: Parameters<typeof broker.follow>[0] = {
    follow: (onPublications) => {
      publish = (publications) => onPublications(publications, publications.at(-1)?.position ?? 0);
      return () => {};
    },
  };
  broker.follow(log, () => NOW);
  const publishOne = (position: number, qos: 0 | 1 | 2, retain = false, stored: StoredProperties = {}) =>
    publish([{ position, topic: "a/b", payload: Buffer.alloc(0), qos, retain, ...stored }]);
  return { broker, publishOne };
}

test("a session that sends publications of QoS 1 and 2 itself is called for none of the log, but for those of QoS 0", () => {
  const { broker, publishOne } = following();
  const calls: string[] = [];
  const subscribe = (name: string) =>
    broker.subscribe(
      "a/#",
      ({ qos }) => void calls.push(`${name} ${qos}`),
      () => {},
    );
  const isDurable = Promise.resolve();
  broker.subscribeSession({ qos: 1, isDurable }, () => subscribe("session"));
  broker.subscribeSession({ qos: 0, isDurable }, () => subscribe("session at QoS 0"));
  subscribe("clean");
  publishOne(1, 1);
  publishOne(2, 2);
  expect(calls.splice(0)).toEqual(["session at QoS 0 1", "clean 1", "session at QoS 0 2", "clean 2"]);
  publishOne(3, 0, true);
  expect(calls.splice(0).sort()).toEqual(["clean 0", "session 0", "session at QoS 0 0"]);
  broker.publish({ cmd: "publish", topic: "a/b", payload: "", qos: 0, retain: false, dup: false }, () => {});
  expect(calls.sort()).toEqual(["clean 0", "session 0", "session at QoS 0 0"]);
});

test("an unsubscribed session is called no more, and a subscription waits until it is durable", async () => {
  const { broker, publishOne } = following();
  let isCalled = false;
  const listener = () => {
    isCalled = true;
  };
  const steps: string[] = [];
  const isDurable = new Promise<void>((resolve) => setImmediate(resolve)).then(() => void steps.push("durable"));
  await new Promise<void>((resolve) => {
    broker.subscribeSession({ qos: 1, isDurable }, () => broker.subscribe("a/#", listener, resolve));
  });
  expect(steps).toEqual(["durable"]);
  await new Promise<void>((resolve) => broker.unsubscribe("a/#", listener, resolve));
  publishOne(1, 0, true);
  expect(isCalled).toBe(false);
});

test("a subscription gets what is stored with a publication, of every QoS, and no publication that has expired", () => {
  const { broker, publishOne } = following();
  const got: (StoredProperties | undefined)[] = [];
  broker.subscribe(
    "a/#",
    ({ stored }: DeliveredPacket) => void got.push(stored),
    () => {},
  );
  const properties = Buffer.from([1, 2]);
  publishOne(1, 1, false, { properties, publisher: "user:alice", expiresAt: NOW + 1 });
  publishOne(2, 1);
  publishOne(3, 1, false, { expiresAt: NOW });
  const packet = { cmd: "publish" as const, topic: "a/b", payload: "", qos: 0 as const, retain: false, dup: false };
  broker.publish({ ...packet, stored: { properties } }, () => {});
  expect(got).toMatchObject([{ properties, publisher: "user:alice", expiresAt: NOW + 1 }, undefined, { properties }]);
});
