import { createHash } from "node:crypto";
import { isId } from "../../contract/ids.ts";

/** Senders in the last so many events of a channel are counted, at most. */
const MAX_WINDOW = 100_000;

/**
 * Who takes more than a fair share of a channel that many speak in (`dashboard`, `alerts`, `jobs`, an operator's own).
 * Such a sender's events are kept in a log of their own, `dashboard:north`, with as many places as the channel has: it
 * loses its own oldest events, and nobody else's. The others share the channel's log, where none has more than its share.
 *
 * Counts decay by half with each window, so who was busy and is not any more comes back.
 */
export class FairShares {
  readonly #window: number;
  readonly #share: number;
  readonly #channels = new Map<string, { total: number; counts: Map<string, number> }>();

  /**
   * @param places events that a channel keeps
   * @param sharePercent of them that one sender may have
   */
  constructor(places: number, sharePercent: number) {
    this.#window = Math.min(places, MAX_WINDOW);
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

  /** Whether the sender has more than its share, as it was counted last. */
  isBeyond(channel: string, owner: string): boolean {
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

/** Whether many speak in the channel: all but those of one camera. */
export function isShared(channel: string): boolean {
  return !channel.includes(":") && channel !== "camera";
}

/** The log of a sender that has more than its share of a channel. It is the name of no channel that a client may name. */
export function logOf(channel: string, owner: string): string {
  return `${channel}:${owner}`;
}

/** The channel of such a log; undefined of a channel's own. */
export function channelOfLog(log: string): string | undefined {
  const end = log.indexOf(":");
  return end < 0 || log.startsWith("camera:") ? undefined : log.slice(0, end);
}

/** What a sender is counted as; undefined for the backend, which speaks of what others do. */
export function ownerOf(sender: string, camera: string | undefined): string | undefined {
  const end = sender.indexOf(":");
  if (end < 0) return sender === "backend" ? camera : digest(sender);
  const id = sender.slice(end + 1);
  return (sender.startsWith("device:") || sender.startsWith("service:")) && isId(id) ? id : digest(sender);
}

/** A user may have any name, a log may not. */
function digest(sender: string): string {
  return `user-${createHash("sha256").update(sender).digest("hex").slice(0, 16)}`;
}
