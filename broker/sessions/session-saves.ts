import type { MqttLog } from "../../platform/publication-log.ts";
import { type LogSession, rowOf, SESSION_ROW } from "./session-record.ts";

/**
 * Changed records that no acknowledgement waits for are written this often, and not more of them each time, in the order
 * of their changes: what many sessions receive must not cost as many writes.
 */
const SAVE_INTERVAL_MS = 50;
const MAX_SAVES = 64;

/** Writes the rows of changed sessions: soon, or at once when an answer to the client waits for the row. */
export class SessionSaves {
  readonly #log: MqttLog;
  /** In the order of their first change after they were saved. */
  readonly #changed = new Set<LogSession>();
  /** Until it fires, this many changed records may be saved. */
  #timer: NodeJS.Timeout | undefined;
  #left = MAX_SAVES;

  constructor(log: MqttLog) {
    this.#log = log;
  }

  note(session: LogSession): void {
    this.#changed.add(session);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#left = MAX_SAVES;
      this.saveSome();
      const [waiting] = this.#changed;
      if (waiting !== undefined) this.note(waiting);
    }, SAVE_INTERVAL_MS).unref();
  }

  /** Nothing of the session is written any more. */
  forget(session: LogSession): void {
    this.#changed.delete(session);
  }

  /** Puts some changed rows into the next write. Not those that were saved recently: the journal may write after every message. */
  saveSome(): void {
    const moment = performance.now();
    for (const session of this.#changed) {
      if (this.#left === 0) return;
      if (moment - session.savedAt < SAVE_INTERVAL_MS) continue;
      this.#left--;
      session.savedAt = moment;
      this.#put(session);
    }
  }

  /** Puts the session's changes into the next write. */
  save(session: LogSession): void {
    if (this.#changed.has(session)) this.#put(session);
  }

  saveAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const session of this.#changed) this.#put(session);
  }

  #put(session: LogSession): void {
    const { rows, publications } = this.#log;
    this.#changed.delete(session);
    // Every node passes over publications for a session without a connection, so that no node has to store the place.
    if (rows.writerOf(session.key) === "this") rows.set(SESSION_ROW + session.key, rowOf(session, publications.epoch));
  }
}
