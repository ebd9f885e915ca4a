import { partsOf } from "../../../../platform/redis/reply.ts";
import type { RetentionLimits } from "../../core/limits.ts";
import type { JournalReader } from "../../journal.ts";
import type { MovedFloor } from "./channel-floors.ts";
import type { RedisJournalLimits } from "./limits.ts";
import { TRIM } from "./scripts.ts";
import type { WriterContext } from "./writer.ts";

/** Entries processed by one call of the script. A call blocks Redis for one or two milliseconds. */
const TRIM_BUDGET = 2_000;

interface RetentionOptions
  extends RetentionLimits,
    Pick<WriterContext, "connection" | "keys" | "run" | "view" | "onJournalChanged"> {
  limits: RedisJournalLimits;
  nodeName: string;
  now: () => number;
  isClosing: () => boolean;
}

/** Removes entries that exceed a channel's limits on count or age. Any node may do this at any time. */
export class Retention {
  readonly #options: RetentionOptions;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Schedules channels for trimming by count. Otherwise a channel is scheduled only when it grows. */
  async schedule(channels: readonly string[]): Promise<void> {
    const { connection, keys } = this.#options;
    if (channels.length > 0) await connection.do((redis) => redis.sadd(keys.excess, ...channels));
  }

  /** @returns the number of removed entries, which no channel keeps now */
  async trim(readers: Iterable<JournalReader>): Promise<number> {
    const { connection, keys, retentionEvents, retentionHours, now, limits, view, isClosing } = this.#options;
    const cutoff = now() - retentionHours * 3_600_000;
    let removed = 0;
    for (;;) {
      const known = view();
      const reply = await connection.run(TRIM, keys.meta, [
        ...[keys.prefix, known.epoch, Number.isFinite(retentionEvents) ? retentionEvents : -1],
        ...[Number.isFinite(cutoff) ? cutoff : -1, TRIM_BUDGET, limits.maxChannels],
        ...[limits.lingeringMs, limits.maxLingeringBytes],
        this.#readersJson(readers),
      ]);
      const [verdict, count, more, floors] = partsOf(reply);
      if (verdict !== "ok") {
        await this.#options.onJournalChanged(false);
        return removed;
      }
      removed += Number(count);
      const moved: MovedFloor[] = JSON.parse(String(floors));
      known.channels.moved(moved);
      // If no floor moved, all remaining work waits for readers that have not read the entries yet.
      if (more !== 1 || moved.length === 0 || isClosing()) return removed;
    }
  }

  #readersJson(readers: Iterable<JournalReader>): string {
    const { nodeName, run } = this.#options;
    return JSON.stringify(
      [...readers].map((reader) => [
        reader.isShared ? reader.name : `${reader.name} ${nodeName || run}`,
        reader.position() ?? -1,
        reader.maxEvents,
      ]),
    );
  }
}
