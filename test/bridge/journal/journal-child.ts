import { pino } from "pino";
import type { JournalMessage } from "../../../bridge/journal/journal.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { from, message, state } from "./messages.ts";

export interface ChildRequest {
  id: number;
  /** An empty list requests the status. */
  messages: { session: string; seq: number; topic?: string }[];
}

export type ChildReport =
  | { kind: "open" }
  | { kind: "unusable"; error: string }
  | { kind: "appended"; id: number; index: number; position: number | undefined }
  | { kind: "refused"; id: number; index: number; error: string }
  | {
      kind: "status";
      id: number;
      head: number;
      unavailableReason: string | undefined;
      state: string[];
      read: number[];
    };

// A program with a journal that tests can kill, and whose disk they can fill. Started by journal-process.ts.
const path = process.argv.at(-1) ?? "";

const report = (sent: ChildReport) => process.send?.(sent);

function build({ session, seq, topic }: ChildRequest["messages"][number]): JournalMessage {
  const sent = topic === undefined ? message() : state("north", topic);
  const publish = { payload: Buffer.from(`${session} ${seq}`), qos: 1 as const, retain: false };
  return {
    ...sent,
    ...from("device:north", session, seq),
    body: `"data":"${session} ${seq} ${"x".repeat(400)}"`,
    publish,
  };
}

try {
  const retention = { retentionEvents: 100_000, retentionHours: 24 };
  const journal = await openLevelJournal({ path, sync: true, logger: pino({ level: "silent" }), ...retention });
  const status = () => ({
    head: journal.head,
    unavailableReason: journal.unavailableReason,
    state: journal.snapshot("dashboard").map(({ topic, position }) => `${topic.split("/").at(-1)} ${position}`),
  });
  process.on("message", ({ id, messages }: ChildRequest) => {
    for (const [index, one] of messages.entries())
      journal.append(build(one)).then(
        ({ position }) => report({ kind: "appended", id, index, position }),
        (error: Error) => report({ kind: "refused", id, index, error: `${error.name}: ${error.message}` }),
      );
    if (messages.length > 0) return;
    journal
      .replay({ channels: ["dashboard"], after: 0, maxEvents: 100_000, maxBytes: 100_000_000 })
      .then(({ entries }) =>
        report({ kind: "status", id, ...status(), read: entries.map(({ position }) => position) }),
      );
  });
  report({ kind: "open" });
} catch (error) {
  report({ kind: "unusable", error: String(error) });
  process.disconnect();
}
