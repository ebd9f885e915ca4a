import { setTimeout } from "node:timers/promises";
import type { Logger } from "pino";
import { LeaseLostError } from "../../platform/errors.ts";
import type { Documents, Lease, Leases } from "./cluster.ts";

export interface Singleton {
  /** Stops the task, so that another node can run it. Idempotent. */
  stop(): Promise<void>;
}

export interface TaskLease extends Lease {
  /** Whether some node held the lease since this node started: the task has been interrupted for seconds only. */
  readonly isTakeOver: boolean;
}

interface SingletonOptions {
  leases: Leases;
  name: string;
  /** @param lease everything that the task writes carries the fence: see `publishFor` and {@link documentsFor} */
  begin: (lease: TaskLease) => Promise<{ stop(): void | Promise<void> }>;
  /** The pause between two attempts to get the lease or to start the task. Default 2,000. */
  retryMs?: number;
  logger: Logger;
}

/** Runs a task on one node, which holds the lease `name`. When that node fails, another one runs the task. */
export function runAsSingleton({ leases, name, begin, retryMs = 2_000, logger }: SingletonOptions): Singleton {
  const stopped = new AbortController();
  const { signal } = stopped;
  let wasHeld = false;

  async function run(): Promise<void> {
    const lease = await leases.acquire(name);
    const isTakeOver = wasHeld;
    wasHeld = true;
    if (lease === undefined) return;
    try {
      const task = await begin({ ...lease, isTakeOver });
      logger.debug({ task: name }, "node runs the task");
      await aborted(AbortSignal.any([signal, lease.lost]));
      if (!signal.aborted)
        logger.warn({ task: name }, "node has lost the task to another node, or to a pause of Redis");
      await task.stop();
    } finally {
      await lease.release();
    }
  }

  const ended = (async () => {
    let isLogged = false;
    while (!signal.aborted) {
      try {
        await run();
        isLogged = false;
      } catch (error) {
        // While the store is unavailable, every attempt fails in the same way: one line is enough.
        if (!isLogged) logger.warn({ err: error, task: name }, "task failed to start or stop, retrying");
        isLogged = true;
      }
      await pause(retryMs, signal);
    }
  })();

  return {
    stop() {
      stopped.abort();
      return ended;
    },
  };
}

/** The documents of a task. When the store refuses a write, because the lease is not held, the lease is given up. */
export function documentsFor({ fence, lose }: Lease, documents: Documents): Documents {
  async function fenced<Result>(write: Promise<Result>): Promise<Result> {
    try {
      return await write;
    } catch (error) {
      if (error instanceof LeaseLostError) lose();
      throw error;
    }
  }
  return {
    get: (collection, key) => documents.get(collection, key),
    list: (collection, prefix) => documents.list(collection, prefix),
    watch: (collection, onChange) => documents.watch(collection, onChange),
    put: (collection, key, value, options) => fenced(documents.put(collection, key, value, { ...options, fence })),
    delete: (collection, key, options) => fenced(documents.delete(collection, key, { ...options, fence })),
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // The timer rejects when the signal aborts, and leaves no listener behind: a node may wait for its lease for months.
  await setTimeout(ms, undefined, { signal, ref: false }).catch(() => undefined);
}
