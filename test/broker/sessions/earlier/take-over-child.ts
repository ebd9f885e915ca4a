import { join } from "node:path";
import { pino } from "pino";
import { openLevelJournal } from "../../../../bridge/journal/stores/level/level.ts";
import { takeOverEarlierSessions } from "../../../../broker/sessions/earlier/take-over.ts";
import type { EarlierRows } from "../../../../platform/publication-log.ts";
import { openRedis } from "../../../../platform/redis/connections.ts";
import { openJournalNode } from "../../../support/redis-journal.ts";

type Step = "append" | "put" | "end";

export interface TakeOverRequest {
  /** The process sends itself a signal at this call. Default: never. */
  killAt?: { step: Step; count: number; when: "before" | "after"; signal?: "SIGKILL" | "SIGSTOP" };
}

export interface TakeOverReport {
  kind: "open" | "stops" | "done" | "failed";
  error?: string;
}

// A program that takes over the sessions of an earlier version, and that tests can kill, and whose disk they can fill.
// Its argument is the data path, or JSON with the URL of Redis and the prefix.
const argument = process.argv.at(-1) ?? "";
const logger = pino({ level: "silent" });
const report = (sent: TakeOverReport) =>
  new Promise<void>((resolve) => (process.send === undefined ? resolve() : process.send(sent, () => resolve())));

function killing(earlier: EarlierRows, killAt: TakeOverRequest["killAt"]): EarlierRows {
  const counts = { append: 0, put: 0, end: 0 };
  const signal = async () => {
    if (killAt?.signal === "SIGSTOP") await report({ kind: "stops" });
    process.kill(process.pid, killAt?.signal ?? "SIGKILL");
  };
  const at = async <Result>(step: Step, call: () => Promise<Result>): Promise<Result> => {
    const isHere = killAt?.step === step && killAt.count === ++counts[step];
    if (isHere && killAt.when === "before") await signal();
    const result = await call();
    if (isHere && killAt.when === "after") await signal();
    return result;
  };
  return {
    alone: (task) => earlier.alone(task),
    mark: () => earlier.mark(),
    undelivered: () => earlier.undelivered(),
    append: (publication) => at("append", () => earlier.append(publication)),
    put: (taken) => at("put", () => earlier.put(taken)),
    end: (mark) => at("end", () => earlier.end(mark)),
  };
}

async function open() {
  const retention = { logger, retentionEvents: 10_000, retentionHours: 24 };
  if (!argument.startsWith("{")) {
    const journal = await openLevelJournal({ path: join(argument, "journal"), sync: false, ...retention });
    return { journal, redis: undefined, close: () => journal.close() };
  }
  const redis = openRedis({ ...JSON.parse(argument), logger });
  const journal = await openJournalNode({ redis, ...retention });
  return { journal, redis, close: () => journal.close().then(() => redis.close()) };
}

const { journal, redis, close } = await open();
const log = journal.mqtt;
const earlier = log?.earlier;
if (log === undefined || earlier === undefined) throw new Error("the journal has no rows of earlier versions");

process.on("message", ({ killAt }: TakeOverRequest) => {
  const isCommand = (topic: string) => topic.includes("/commands/");
  const { publications, rows } = log;
  const watched = { publications, rows, append: log.append, incomingIds: () => log.incomingIds() };
  const rest = { removeIncomingIds: log.removeIncomingIds, onReset: log.onReset, earlier: killing(earlier, killAt) };
  takeOverEarlierSessions({ path: join(argument, "mqtt"), redis, log: { ...watched, ...rest }, isCommand, logger })
    .then(
      () => report({ kind: "done" }),
      (error: unknown) => report({ kind: "failed", error: String(error) }),
    )
    .then(close)
    .finally(() => process.disconnect());
});
void report({ kind: "open" });
