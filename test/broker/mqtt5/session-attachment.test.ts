import { expect, it } from "vitest";
import { SessionAttachment } from "../../../broker/mqtt5/session-attachment.ts";
import { SessionCursor } from "../../../broker/sessions/session-cursor.ts";
import { messageIdOf } from "../../../broker/sessions/session-flights.ts";

it("PUBREL waits until the PUBREC of a session is durable, and is not sent when a newer connection has the session [MQTT-4.3.3-4]", async () => {
  const cursor = new SessionCursor(
    { sent: 9, open: [[9, 2, 0]], filters: [["#", 2, 0]] },
    {
      ...{ key: "user:alice", edge: () => 9, window: 10, maxUnwritten: 10, now: () => 0 },
      log: { recent: () => ({ publications: [], next: 9 }), read: () => Promise.reject(new Error("all is in memory")) },
      ...{ wantsReceipt: () => false, onChange: () => {}, onMissing: () => {}, onReadFailed: () => {} },
    },
  );
  const writes: (() => void)[] = [];
  const storage = { store: () => new Promise<void>((resolve) => writes.push(resolve)) };
  const connected = () => {
    const connection = { isFull: false, mayReceive: () => true, send: () => {} };
    return new SessionAttachment(storage, "user:alice", {
      ...{ cursor, connection },
      released: cursor.connect(connection),
    });
  };
  const first = connected();
  const released: string[] = [];
  const receiving = first.receive(messageIdOf(9))?.then(() => released.push("first"));
  await Promise.resolve();
  expect(released).toEqual([]);
  writes.shift()?.();
  await receiving;
  expect(released).toEqual(["first"]);
  expect(first.receive(1234)).toBeUndefined();

  const second = connected();
  expect(second.released).toEqual([messageIdOf(9)]);
  await expect(first.receive(messageIdOf(9))).rejects.toThrow("another connection");
});
