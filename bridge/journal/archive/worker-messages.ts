import type { RetentionDays } from "./config.ts";
import type { CoverageQuery } from "./coverage.ts";
import type { ArchiveBatch } from "./database.ts";
import type { ArchiveQuery } from "./pages.ts";
import type { ReadingsQuery } from "./readings.ts";

/** Where the archive is: a file of SQLite, or a database of PostgreSQL. */
export type ArchivePlace = { path: string } | { url: string };

export interface WorkerData {
  place: ArchivePlace;
  topicRoot: string;
  /** Whether this thread brings the schema up to date. */
  migrate: boolean;
}

export type ArchiveCall =
  | { name: "position" | "close"; argument?: undefined; now?: undefined }
  | { name: "append"; argument: ArchiveBatch; now?: undefined }
  | { name: "page"; argument: ArchiveQuery; now?: undefined }
  | { name: "readings"; argument: ReadingsQuery; now?: undefined }
  | { name: "coverage"; argument: CoverageQuery; now?: undefined }
  | { name: "find"; argument: string; now?: undefined }
  | { name: "prune"; argument: RetentionDays; now: number };

export interface ArchiveReply {
  id: number;
  result?: unknown;
  /** Why the call failed. */
  error?: string;
}
