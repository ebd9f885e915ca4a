import { expect, it } from "vitest";
import { RowLedger } from "../../../broker/sessions/shares/row-ledger.ts";
import { readShareRecord, type ShareRecord } from "../../../broker/sessions/shares/share-record.ts";

const RECORD: ShareRecord = {
  ...{ v: 1, identity: "user:alice", share: "workers", filter: "a/#", epoch: "e", sent: 90, waiting: [70] },
  open: [
    [60, 1, 0, 62_768, "kept"],
    [61, 2, 0, 62_769, "kept"],
    [62, 2, 1, 62_770, "kept"],
    [80, 1, 0, 62_768, "clean"],
    [81, 2, 0, 62_769, "clean"],
  ],
  members: [
    ["kept", 2, 1],
    ["clean", 2, 0],
  ],
};

function opened(record: ShareRecord, edge = 100): RowLedger {
  return new RowLedger(record, edge, { epoch: () => "e", onChange: () => {}, store: async () => {} });
}

it("lets what was open at QoS 1 wait after a crash, and keeps QoS 2 for sessions that outlive connections", async () => {
  const ledger = opened(RECORD);
  expect([...ledger.members.keys()]).toEqual(["kept"]);
  expect(ledger.waiting).toEqual([60, 70, 80]);
  expect([...ledger.held()]).toEqual([61]);
  const open = await ledger.join("kept", { qos: 2, isPersistent: true });
  expect(open.map(({ position, messageId, state }) => [position, messageId, state])).toEqual([
    [61, 62_769, "sent"],
    [62, 62_770, "released"],
  ]);
});

it("moves to the end of a log that an older copy has replaced", () => {
  const ledger = opened(RECORD, 65);
  expect([ledger.sent, ledger.waiting]).toEqual([65, [60]]);
});

it("writes a record that it reads again", () => {
  const record = opened(RECORD).record();
  expect(record).toMatchObject({ sent: 90, waiting: [60, 70, 80], members: [["kept", 2, 1]] });
  expect(readShareRecord(JSON.stringify(record))).toEqual(record);
  expect(opened(record).record()).toEqual(record);
  expect(readShareRecord("{}")).toBeUndefined();
});
