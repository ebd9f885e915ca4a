import type { Logger } from "pino";
import type { Leases } from "../../cluster/cluster.ts";
import { runAsSingleton } from "../../cluster/singleton.ts";
import { archiveFile } from "./config.ts";
import { type ArchivedJournal, ArchiveFiller, type ArchiveStatus, type FillerOptions } from "./filler.ts";
import type { FoundEvents } from "./lookup.ts";
import type { ArchivePage, ArchiveQuery } from "./pages.ts";
import type { SeriesSource } from "./series.ts";
import { ArchiveUnavailableError, WORKER_FILE, WorkerDatabase } from "./worker-database.ts";

export type { ArchiveAccess } from "./access.ts";
export type { ArchiveStatus } from "./filler.ts";
export { KINDS, type Kind, kindOf } from "./kinds.ts";
export type { FoundEvents } from "./lookup.ts";
export { SERIES_FIELDS, type SeriesField, UNITS } from "./measures.ts";
export type { ArchivedEvent, ArchivePage, ArchiveQuery } from "./pages.ts";
export { readSeries, type Series } from "./series.ts";
export { searchWordsOf } from "./words.ts";
export { ArchiveUnavailableError };

/** Keeps every event in a database, for as long as the operator wants. */
export interface Archive extends SeriesSource {
  /** @throws {ArchiveUnavailableError} the archive is off, or its database cannot be read now */
  page(query: ArchiveQuery): Promise<ArchivePage>;
  /** Finds the events with a sender's id. @throws {ArchiveUnavailableError} as `page` */
  find(eventId: string): Promise<FoundEvents>;
  /** When this node archived the event, by `performance.now()`; undefined when this is not known. */
  storedAt(epoch: string, position: number): number | undefined;
  /** Undefined when the archive is off. */
  status(): ArchiveStatus | undefined;
  stop(): Promise<void>;
}

export interface ArchiveOptions {
  config: Pick<FillerOptions, "maxLagEvents" | "retentionDays"> & { isOn: boolean; databaseUrl: string | undefined };
  /** The folder of the archive without PostgreSQL. */
  dataPath: string;
  topicRoot: string;
  journal: ArchivedJournal;
  /** With PostgreSQL, one of several nodes archives. */
  leases: Leases;
  logger: Logger;
  /** The current time, milliseconds since 1970. Default: `Date.now`. */
  now?: () => number;
  /** The program of the thread. Default: the program in the build. */
  workerFile?: URL;
}

/**
 * Starts the archive. A database that cannot be reached does not delay the start: the archive tries again and catches
 * up.
 */
export function startArchive(options: ArchiveOptions): Archive {
  const { config, dataPath, topicRoot, leases, logger, workerFile = WORKER_FILE } = options;
  const { databaseUrl } = config;
  if (!config.isOn) return archiveOff();
  const place = databaseUrl === undefined ? { path: archiveFile(dataPath) } : { url: databaseUrl };
  const openWorker = (migrate: boolean) => new WorkerDatabase({ place, topicRoot, migrate }, workerFile);
  const isShared = databaseUrl !== undefined;
  const filler = new ArchiveFiller({ ...options, ...config, isShared, open: () => openWorker(true) });
  // Without PostgreSQL each node archives for itself, because no other node can read its file.
  const task = isShared
    ? runAsSingleton({ leases, name: "archive", logger, begin: async () => filler.begin() })
    : filler.begin();
  let reader: WorkerDatabase | undefined;
  let stopping: Promise<void> | undefined;

  async function read<Result>(query: (database: WorkerDatabase) => Promise<Result>): Promise<Result> {
    if (!isShared && !filler.hasOpened)
      throw new ArchiveUnavailableError(filler.status().unavailableReason ?? "the archive is being opened");
    // Queries have a thread of their own, so that queries and the filling of the archive do not delay each other.
    reader ??= openWorker(isShared);
    const current = reader;
    try {
      return await query(current);
    } catch (error) {
      // The next query opens the database again.
      if (reader === current) reader = undefined;
      void current.close();
      throw error;
    }
  }

  return {
    page: (query) => read((database) => database.page(query)),
    find: (eventId) => read((database) => database.find(eventId)),
    readings: (query) => read((database) => database.readings(query)),
    coverage: (query) => read((database) => database.coverage(query)),
    storedAt: (epoch, position) => filler.storedAt(epoch, position),
    status: () => filler.status(),
    stop() {
      stopping ??= (async () => {
        await task.stop();
        await filler.close();
        await reader?.close();
      })();
      return stopping;
    },
  };
}

function archiveOff(): Archive {
  const refuse = async () => {
    throw new ArchiveUnavailableError("the archive is off: set ARCHIVE=on to keep events", { isOff: true });
  };
  return {
    ...{ page: refuse, find: refuse, readings: refuse, coverage: refuse },
    storedAt: () => undefined,
    status: () => undefined,
    stop: async () => undefined,
  };
}
