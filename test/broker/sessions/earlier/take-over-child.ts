import { join } from "node:path";
import { pino } from "pino";
import { openLevelJournal } from "../../../../bridge/journal/stores/level/level.ts";
import { takeOverEarlierSessions } from "../../../../broker/sessions/earlier/take-over.ts";
import type { MqttLog } from "../../../../platform/publication-log.ts";

type Step = "append" | "flush" | "put" | "end";

export interface TakeOverRequest {
  /** The process kills itself at this call. Default: never. */
  killAt?: { step: Step; count: number; when: "before" | "after" };
}

export interface TakeOverReport {
  kind: "open" | "done" | "failed";
  error?: string;
}

// A program that takes over the sessions of an earlier version, and that tests can kill, and whose disk they can fill.
const dataPath = process.argv.at(-1) ?? "";
const logger = pino({ level: "silent" });
const report = (sent: TakeOverReport) => process.send?.(sent);

function killing(log: MqttLog, killAt: TakeOverRequest["killAt"]): MqttLog {
  const counts = { append: 0, flush: 0, put: 0, end: 0 };
  const at = async <Result>(step: Step, call: () => Promise<Result>): Promise<Result> => {
    const isHere = killAt?.step === step && killAt.count === ++counts[step];
    if (isHere && killAt.when === "before") process.kill(process.pid, "SIGKILL");
    const result = await call();
    if (isHere) process.kill(process.pid, "SIGKILL");
    return result;
  };
  const { rows, earlier } = log;
  if (earlier === undefined) throw new Error("the journal has no rows of earlier versions");
  return {
    ...log,
    append: (publication) => at("append", () => log.append(publication)),
    rows: {
      ...{ load: (prefix) => rows.load(prefix), set: (key, value) => rows.set(key, value) },
      flush: () => at("flush", () => rows.flush()),
      beforeWrite: (collect) => rows.beforeWrite(collect),
      ...{ take: (client) => rows.take(client), release: (client) => rows.release(client) },
      ...{ writerOf: (client) => rows.writerOf(client), removeSession: (client) => rows.removeSession(client) },
      ...{ follow: (listener) => rows.follow(listener), isFirstNode: rows.isFirstNode },
    },
    earlier: {
      undelivered: () => earlier.undelivered(),
      put: (taken) => at("put", () => earlier.put(taken)),
      end: (key, mark) => at("end", () => earlier.end(key, mark)),
    },
  };
}

const options = { path: join(dataPath, "journal"), sync: false, logger };
const journal = await openLevelJournal({ ...options, retentionEvents: 10_000, retentionHours: 24 });
const log = journal.mqtt;
if (log === undefined) throw new Error("the journal keeps no log");

process.on("message", ({ killAt }: TakeOverRequest) => {
  const path = join(dataPath, "mqtt");
  const isCommand = (topic: string) => topic.includes("/commands/");
  takeOverEarlierSessions({ path, log: killing(log, killAt), isCommand, logger })
    .then(
      () => report({ kind: "done" }),
      (error: unknown) => report({ kind: "failed", error: String(error) }),
    )
    .then(() => journal.close())
    .finally(() => process.disconnect());
});
report({ kind: "open" });
