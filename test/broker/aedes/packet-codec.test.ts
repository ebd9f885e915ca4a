import { expect, test } from "vitest";
import { decodePacket, encodePacket, type KeptPacket } from "../../../broker/aedes/packet-codec.ts";

const packet: KeptPacket = {
  ...{ cmd: "publish", topic: "a/b", payload: Buffer.from("text"), qos: 0, retain: false, dup: false },
  ...{ brokerId: "one", brokerCounter: 7, messageId: undefined },
};

test("a packet reaches another node with what is stored with it", () => {
  const stored = { publisher: "user:alice", expiresAt: 1_800_000_000_000.5, properties: Buffer.from([0, 255, 10]) };
  expect(decodePacket(encodePacket({ ...packet, stored }))).toEqual({ ...packet, stored });
  expect(decodePacket(encodePacket({ ...packet, stored: { expiresAt: 5 } })).stored).toEqual({ expiresAt: 5 });
});

test("a packet without such fields is encoded as by earlier versions, and refused when bytes follow", () => {
  const bytes = encodePacket(packet);
  expect(bytes).toHaveLength(20 + "one".length + "a/b".length + "text".length);
  expect(decodePacket(bytes)).toEqual(packet);
  expect(() => decodePacket(Buffer.concat([bytes, Buffer.from("{}")]))).toThrow("a stored message is damaged");
});
