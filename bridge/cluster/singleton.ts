import { setTimeout } from "node:timers/promises";
import type { Logger } from "pino";
import type { Leases } from "./cluster.ts";

/** What one node does for all. */
export interface Singleton {
  /** Ends the work and lets another node have it. Idempotent. */
  stop(): Promise<void>;
}

export interface SingletonOptions {
  leases: Leases;
  /** Names the work over all nodes. */
  name: string;
  /** Begins the work; what it returns ends it. */
  begin: () => Promise<{ stop(): void | Promise<void> }>;
  /** Between two tries to get the work, or to begin it, milliseconds. Default 2,000. */
  retryMs?: number;
  logger: Logger;
}

/** Does a work on one node at a time: on the first that can, and on another when that is gone. */
export function runAsSingleton({ leases, name, begin, retryMs = 2_000, logger }: SingletonOptions): Singleton {
  const stopped = new AbortController();
  const { signal } = stopped;

  async function serve(): Promise<void> {
    const lease = await leases.acquire(name);
    if (lease === undefined) return;
    try {
      const work = await begin();
      logger.debug({ duty: name }, "this node has the duty");
      await aborted(AbortSignal.any([signal, lease.lost]));
      await work.stop();
    } finally {
      await lease.release();
    }
  }

  const ended = (async () => {
    let said = false;
    while (!signal.aborted) {
      try {
        await serve();
        said = false;
      } catch (error) {
        // Of a store that is away every try says the same.
        if (!said) logger.warn({ err: error, duty: name }, "duty not begun or not ended well, trying again");
        said = true;
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

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // It rejects when the signal aborts, and leaves no listener behind: a node may wait for its duty for months.
  await setTimeout(ms, undefined, { signal, ref: false }).catch(() => undefined);
}
