import { type Connection, partsOf } from "./connection.ts";
import type { JournalView } from "./journal-view.ts";
import type { JournalKeys } from "./keys.ts";
import type { MqttOutbox } from "./mqtt-outbox.ts";
import { BEAT } from "./scripts/life.ts";

export interface HeartbeatOptions {
  connection: Connection;
  keys: JournalKeys;
  run: string;
  /** The name of the node; "" for none. */
  nodeName: string;
  intervalMs: number;
  deadAfterMs: number;
  mqttOutbox: MqttOutbox;
  view: () => JournalView;
  onFailed: (error: unknown) => void;
  onWorked: () => void;
  /** Undelivered messages of a dead node were taken over. */
  onTakenOver: () => void;
  /** Redis holds another epoch, or, if `isRolledBack`, lost the end of this epoch. */
  onJournalChanged: (isRolledBack: boolean) => Promise<void>;
}

/**
 * Writes the heartbeat of this node at an interval. Because the heartbeat is a write, it also detects that writing
 * fails or works again, and that Redis holds another journal, even while nobody appends.
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
    this.#timer = setInterval(() => this.beat(), this.#options.intervalMs).unref();
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
    const { connection, keys, run, nodeName, deadAfterMs, mqttOutbox, view } = this.#options;
    const known = view();
    const { head } = known;
    const args = [keys.prefix, run, nodeName, deadAfterMs, isFirst ? 1 : 0, ...mqttOutbox.takenOver];
    const [epoch, headNow, ...taken] = partsOf(await connection.run(BEAT, keys.meta, args));
    this.#options.onWorked();
    for (const other of taken) mqttOutbox.takeOver(String(other));
    if (taken.length > 0 && !isFirst) this.#options.onTakenOver();
    if (view() !== known) return;
    if (epoch !== known.epoch) await this.#options.onJournalChanged(false);
    else if (Number(headNow) < head) await this.#options.onJournalChanged(true);
  }
}
