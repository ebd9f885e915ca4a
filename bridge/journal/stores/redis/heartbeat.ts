import { partsOf } from "./connection.ts";
import { BEAT } from "./scripts.ts";
import type { WriterContext } from "./writer.ts";

interface HeartbeatOptions extends WriterContext {
  nodeName: string;
  heartbeatMs: number;
  deadAfterMs: number;
  /** This node now reports the commands that a dead node has not finished. */
  onClaimed: () => void;
}

/**
 * Writes the heartbeat of this node at an interval. This write also detects, even while nobody appends, that writing
 * fails or works again, and that Redis holds another journal.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;
  #stopped = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** @throws {StoreUnavailableError} the first heartbeat fails */
  async start(): Promise<void> {
    await this.#beatOnce(true);
    this.#timer = setInterval(() => this.beat(), this.#options.heartbeatMs).unref();
  }

  /** Sends a heartbeat, unless one is being sent. Never throws. */
  beat(): void {
    const { connection, onFailed } = this.#options;
    if (this.#stopped || this.#beating !== undefined || !connection.isReady) return;
    this.#beating = this.#beatOnce(false)
      .catch(onFailed)
      .finally(() => {
        this.#beating = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#beating;
  }

  async #beatOnce(isFirst: boolean): Promise<void> {
    const { connection, keys, run, nodeName, deadAfterMs, open, publications, view } = this.#options;
    const known = view();
    const { head } = known;
    const args = [keys.prefix, run, nodeName, deadAfterMs, isFirst ? 1 : 0, publications.needs];
    args.push(...open.claimedRuns);
    const [epoch, headNow, ...claimed] = partsOf(await connection.run(BEAT, keys.meta, args));
    this.#options.onWorked();
    for (const other of claimed) open.claimedRuns.add(String(other));
    if (claimed.length > 0) this.#options.onClaimed();
    if (view() !== known) return;
    if (epoch !== known.epoch) await this.#options.onJournalChanged(false);
    else if (Number(headNow) < head) await this.#options.onJournalChanged(true);
  }
}
