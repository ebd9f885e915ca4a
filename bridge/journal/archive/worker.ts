// The thread of the archive: all its SQL runs here, so that neither SQLite, which blocks its thread, nor the work of
// building rows takes time from live events.
import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import type { Dialect } from "kysely";
import { topicTree } from "../../../contract/topics.ts";
import { type ArchiveDatabase, openArchiveDatabase } from "./database.ts";
import type { ArchiveCall, ArchivePlace, ArchiveReply, WorkerData } from "./worker-messages.ts";

/** Live events come first on a busy machine: the archive may fall behind and catches up later. */
const NICENESS = 10;

function yieldToOthers(): void {
  // On Linux the priority belongs to the thread, and this link names the thread. Elsewhere there is no such link.
  try {
    setPriority(Number(readlinkSync("/proc/thread-self").split("/").at(-1)), NICENESS);
  } catch {
    return;
  }
}

const port = parentPort;
if (port === null) throw new Error("this file is the program of a worker thread");
yieldToOthers();
const { place, topicRoot, migrate }: WorkerData = workerData;
const engine = "url" in place ? "postgres" : "sqlite";
const opening = open();
// Each call reports the failure.
opening.catch(() => undefined);

async function open(): Promise<ArchiveDatabase> {
  const dialect = await dialectOf(place);
  return await openArchiveDatabase({ dialect, engine, migrate, tree: topicTree(topicRoot) });
}

/** Loads the driver of the database only. */
async function dialectOf(where: ArchivePlace): Promise<Dialect> {
  if ("path" in where) return (await import("./sqlite.ts")).sqliteDialect(where.path);
  // The error of an idle connection is ignored: the next query opens another connection, or reports that it cannot.
  return (await import("./postgres.ts")).postgresDialect(where.url, () => undefined);
}

async function answer({ name, argument, now }: ArchiveCall): Promise<unknown> {
  const database = await opening;
  switch (name) {
    case "position":
      return await database.position();
    case "append":
      return await database.append(argument);
    case "page":
      return await database.page(argument);
    case "find":
      return await database.find(argument);
    case "readings":
      return await database.readings(argument);
    case "coverage":
      return await database.coverage(argument);
    case "prune":
      return await database.prune(argument, now);
    case "close":
      return await database.close();
  }
}

port.on("message", ({ id, call }: { id: number; call: ArchiveCall }) => {
  answer(call).then(
    (result) => port.postMessage({ id, result } satisfies ArchiveReply),
    (error: unknown) => {
      const message = error instanceof Error ? error.message || error.name : String(error);
      port.postMessage({ id, error: message } satisfies ArchiveReply);
    },
  );
});
