import type { MovedFloor } from "./channels.ts";
import { type Connection, partsOf } from "./connection.ts";
import type { JournalView } from "./journal-view.ts";
import type { JournalKeys } from "./keys.ts";
import type { RedisJournalLimits } from "./limits.ts";
import { TRIM } from "./scripts/trim.ts";

/** Entries that one call of the script looks at: one or two milliseconds, in which Redis does nothing else. */
const TRIM_BUDGET = 2_000;

export interface RetentionOptions {
  connection: Connection;
  keys: JournalKeys;
  /** The most entries a channel keeps; Infinity for no limit. */
  retentionEvents: number;
  /** The oldest an entry of a channel may be, hours; Infinity for no limit. */
  retentionHours: number;
  limits: RedisJournalLimits;
  /** The time, milliseconds since 1970. */
  now: () => number;
  view: () => JournalView;
  /** True when no further work should be begun. */
  isClosing: () => boolean;
  /** The journal is not the one that is known. */
  onJournalChanged: () => Promise<void>;
}

/** Drops from each channel what is too many or too old. Any node may do it, at any time; it is done once. */
export class Retention {
  readonly #options: RetentionOptions;
  #trimming: Promise<unknown> = Promise.resolve();

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** @returns how many entries went: those that all their channels have dropped */
  async trim(): Promise<number> {
    const trimming = this.#trimming.then(() => this.#trim());
    this.#trimming = trimming.catch(() => {});
    return await trimming;
  }

  /** Resolves when nothing is being trimmed; never rejects. */
  async idle(): Promise<void> {
    await this.#trimming;
  }

  /** Channels that keep more than they may, from before: a channel is looked at when it grows, or when it is named. */
  async expect(channels: readonly string[]): Promise<void> {
    const { connection, keys } = this.#options;
    if (channels.length > 0) await connection.do((redis) => redis.sadd(keys.excess, ...channels));
  }

  async #trim(): Promise<number> {
    const { connection, keys, retentionEvents, retentionHours, now, limits, view, isClosing } = this.#options;
    const cutoff = now() - retentionHours * 3_600_000;
    let gone = 0;
    for (;;) {
      const known = view();
      const reply = await connection.run(TRIM, keys.meta, [
        ...[keys.prefix, known.epoch, Number.isFinite(retentionEvents) ? retentionEvents : -1],
        ...[Number.isFinite(cutoff) ? cutoff : -1, TRIM_BUDGET, limits.maxChannels, limits.maxLingeringChunks],
      ]);
      const [verdict, count, more, floors] = partsOf(reply);
      if (verdict !== "ok") {
        await this.#options.onJournalChanged();
        return gone;
      }
      gone += Number(count);
      const moved: MovedFloor[] = JSON.parse(String(floors));
      known.channels.moved(moved);
      if (more !== 1 || isClosing()) return gone;
    }
  }
}
