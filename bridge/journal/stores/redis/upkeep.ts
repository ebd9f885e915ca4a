import type { Membership } from "../../../../platform/redis/membership.ts";
import { partsOf } from "../../../../platform/redis/reply.ts";
import { UPKEEP } from "./scripts.ts";
import type { WriterContext } from "./writer.ts";

interface UpkeepOptions extends WriterContext {
  membership: Membership;
  /** This node now reports the commands that a dead node has not finished. */
  onClaimed: () => void;
}

/**
 * After each heartbeat: says what this node needs, and claims the commands of dead nodes. This write also detects, even
 * while nobody appends, that writing fails, and that Redis holds another journal.
 */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #working: Promise<void> | undefined;
  #end: (() => void) | undefined;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** @throws {StoreUnavailableError} the first write fails */
  async start(): Promise<void> {
    await this.#write();
    this.#end = this.#options.membership.onBeat(() => this.run());
  }

  /** Writes, unless a write is under way. Never throws. */
  run(): void {
    const { connection } = this.#options;
    if (this.#end === undefined || this.#working !== undefined || !connection.isReady) return;
    this.#working = this.#write()
      .catch(() => {})
      .finally(() => {
        this.#working = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#end?.();
    this.#end = undefined;
    await this.#working;
  }

  async #write(): Promise<void> {
    const { connection, keys, run, membership, open, publications, view } = this.#options;
    const known = view();
    const { head } = known;
    const args = [keys.prefix, membership.key, run, publications.needs];
    const [epoch, headNow, ...claimed] = partsOf(await connection.run(UPKEEP, keys.meta, args));
    if (open.claimed(claimed.map(String))) this.#options.onClaimed();
    if (view() !== known) return;
    if (epoch !== known.epoch) await this.#options.onJournalChanged(false);
    else if (Number(headNow) < head) await this.#options.onJournalChanged(true);
  }
}
