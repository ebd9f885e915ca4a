import { extname } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Coverage, CoverageQuery } from "./coverage.ts";
import type { ArchiveBatch, ArchiveDatabase, ArchivePosition } from "./database.ts";
import type { FoundEvents } from "./lookup.ts";
import type { ArchivePage, ArchiveQuery } from "./pages.ts";
import type { Bucket, ReadingsQuery } from "./readings.ts";
import type { ArchiveCall, ArchiveReply, WorkerData } from "./worker-messages.ts";

/** The built program of the thread, beside this file. */
export const WORKER_FILE = new URL(`./worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url);

/** The longest wait for the database to close: a frozen database never closes. */
const CLOSE_TIMEOUT_MS = 1_000;

/** The database could not be opened, read or written, or the archive is off. The message is for an operator. */
export class ArchiveUnavailableError extends Error {
  override name = "ArchiveUnavailableError";
  readonly isOff: boolean;

  constructor(message: string, { isOff = false } = {}) {
    super(message);
    this.isOff = isOff;
  }
}

interface Waiting {
  resolve(result: never): void;
  reject(error: Error): void;
}

/** A thread that works on the archive. */
export class WorkerDatabase implements ArchiveDatabase {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;
  #end: string | undefined;
  #closing: Promise<void> | undefined;

  /** Starts the thread, which opens the database. If that fails, every call fails. */
  constructor(data: WorkerData, file: URL) {
    // The thread does not inherit the options of the process: some of them, such as `--input-type`, do not work with a file.
    this.#worker = new Worker(file, { workerData: data, execArgv: [] });
    this.#worker.on("message", (reply: ArchiveReply) => this.#answered(reply));
    this.#worker.on("error", (error) => this.#ended(`its thread failed: ${error.message}`));
    this.#worker.on("exit", () => this.#ended("its thread ended"));
  }

  position(): Promise<ArchivePosition | undefined> {
    return this.#call({ name: "position" });
  }

  append(batch: ArchiveBatch): Promise<boolean> {
    return this.#call({ name: "append", argument: batch });
  }

  page(query: ArchiveQuery): Promise<ArchivePage> {
    return this.#call({ name: "page", argument: query });
  }

  find(eventId: string): Promise<FoundEvents> {
    return this.#call({ name: "find", argument: eventId });
  }

  readings(query: ReadingsQuery): Promise<Bucket[]> {
    return this.#call({ name: "readings", argument: query });
  }

  coverage(query: CoverageQuery): Promise<Coverage> {
    return this.#call({ name: "coverage", argument: query });
  }

  prune(retentionDays: Parameters<ArchiveDatabase["prune"]>[0], now: number): Promise<number> {
    return this.#call({ name: "prune", argument: retentionDays, now });
  }

  /** Closes the database and ends the thread. A call under way is completed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const timeout = new AbortController();
    await Promise.race([
      this.#call<void>({ name: "close" }).catch(() => undefined),
      setTimeout(CLOSE_TIMEOUT_MS, undefined, { signal: timeout.signal }).catch(() => undefined),
    ]);
    timeout.abort();
    await this.#worker.terminate();
  }

  #call<Result>(call: ArchiveCall): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) {
        reject(new ArchiveUnavailableError(this.#end));
        return;
      }
      const id = ++this.#calls;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, call });
    });
  }

  #answered({ id, result, error }: ArchiveReply): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error !== undefined) waiting?.reject(new ArchiveUnavailableError(error));
    else waiting?.resolve(result as never);
  }

  #ended(reason: string): void {
    this.#end ??= reason;
    for (const { reject } of this.#waiting.values()) reject(new ArchiveUnavailableError(reason));
    this.#waiting.clear();
  }
}
