import { setTimeout as sleep } from "node:timers/promises";
import { clockMicros } from "../process-cpu.ts";

/** Where events enter a server. */
export interface Feed {
  /** The number of the next event. */
  readonly next: number;
  /** Sends that many events in one write. */
  publish(count: number): void;
  /** Resolves when no more than that many events are without acknowledgement; a feed without acknowledgements at once. */
  pending(atMost: number): Promise<void>;
  close(): void;
}

/** Publishes at an even rate until told to stop. */
export async function publishPaced(feed: Feed, perSecond: number, until: AbortSignal): Promise<void> {
  const begin = clockMicros();
  let sent = 0;
  while (!until.aborted) {
    const due = Math.ceil(((clockMicros() - begin) / 1e6) * perSecond);
    if (due > sent) feed.publish(due - sent);
    sent = Math.max(sent, due);
    await sleep(1);
  }
  await feed.pending(0);
}

/** Publishes as fast as acknowledgements come. */
export async function publishAll(feed: Feed, count: number): Promise<void> {
  const chunk = 200;
  for (let left = count; left > 0; left -= chunk) {
    await feed.pending(4 * chunk);
    feed.publish(Math.min(chunk, left));
  }
  await feed.pending(0);
}
