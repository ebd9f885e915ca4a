import { setTimeout as sleep } from "node:timers/promises";
import { clockMicros } from "../process-cpu.ts";

/** A source of events for a server. */
export interface Feed {
  /** The number of the next event. */
  readonly next: number;
  /** Sends `count` events in one write. */
  publish(count: number): void;
  /** Resolves when at most the given number of events is unacknowledged. Without acknowledgements, resolves at once. */
  pending(atMost: number): Promise<void>;
  close(): void;
}

/** Publishes at an even rate until stopped. */
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

/** Publishes as fast as acknowledgements arrive. */
export async function publishAll(feed: Feed, count: number): Promise<void> {
  const chunk = 200;
  for (let left = count; left > 0; left -= chunk) {
    await feed.pending(4 * chunk);
    feed.publish(Math.min(chunk, left));
  }
  await feed.pending(0);
}
