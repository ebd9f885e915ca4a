import { createHash } from "node:crypto";
import { isId } from "../../contract/ids.ts";

/** The largest window, in events. */
const MAX_WINDOW = 100_000;

/**
 * Detects senders that exceed their fair share of a channel with many senders (`dashboard`, `alerts`, `jobs`, a custom
 * channel). The events of such a sender go to a separate log, for example `dashboard:north`, with the channel's
 * retention. So the sender evicts only its own events. All other senders share the channel's log.
 *
 * All counts are halved after each window of events, so a sender returns to the channel's log once it sends less.
 */
export class FairShares {
  readonly #window: number;
  readonly #share: number;
  readonly #channels = new Map<string, { total: number; counts: Map<string, number> }>();

  constructor(retentionEvents: number, sharePercent: number) {
    this.#window = Math.min(retentionEvents, MAX_WINDOW);
    this.#share = Math.max(1, (this.#window * sharePercent) / 100);
  }

  /** Counts an event. @returns whether its sender has more than its share of the channel */
  exceeds(channel: string, owner: string): boolean {
    let counted = this.#channels.get(channel);
    if (counted === undefined) {
      counted = { total: 0, counts: new Map() };
      this.#channels.set(channel, counted);
    }
    const count = (counted.counts.get(owner) ?? 0) + 1;
    counted.counts.set(owner, count);
    if (++counted.total >= this.#window) this.#decay(counted);
    return count > this.#share;
  }

  /** Whether the sender has more than its share. Counts no event. */
  isOverShare(channel: string, owner: string): boolean {
    return (this.#channels.get(channel)?.counts.get(owner) ?? 0) > this.#share;
  }

  #decay(counted: { total: number; counts: Map<string, number> }): void {
    counted.total = 0;
    for (const [owner, count] of counted.counts) {
      const half = Math.floor(count / 2);
      if (half === 0) counted.counts.delete(owner);
      else counted.counts.set(owner, half);
      counted.total += half;
    }
  }
}

/** Whether the channel has many senders: every channel except a camera's own channel. */
export function isShared(channel: string): boolean {
  return !channel.includes(":") && channel !== "camera";
}

/** The separate log of a sender in a channel. Clients cannot request it: its name is invalid for them. */
export function logOf(channel: string, owner: string): string {
  return `${channel}:${owner}`;
}

/** @returns undefined for a channel's own log */
export function channelOfLog(log: string): string | undefined {
  const end = log.indexOf(":");
  return end < 0 || log.startsWith("camera:") ? undefined : log.slice(0, end);
}

/** The name under which an event is counted. An event of the backend counts for its camera, if it has one. */
export function ownerOf(sender: string, camera: string | undefined): string | undefined {
  const end = sender.indexOf(":");
  if (end < 0) return sender === "backend" ? camera : digest(sender);
  const id = sender.slice(end + 1);
  return (sender.startsWith("device:") || sender.startsWith("service:")) && isId(id) ? id : digest(sender);
}

/** A user name may contain characters that are invalid in a log name. */
function digest(sender: string): string {
  return `user-${createHash("sha256").update(sender).digest("hex").slice(0, 16)}`;
}
