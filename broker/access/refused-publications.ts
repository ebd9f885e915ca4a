import type { Logger } from "pino";
import type { RefusalReason } from "../../contract/events.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { RefusedPublication } from "../../platform/publications.ts";

/** Who sent a publication, as far as it is told of. */
export interface PublicationSender {
  /** `device:north`, `user:alice`. */
  readonly identity: string;
  readonly clientId: string;
}

/**
 * Publications that are acknowledged and not kept. MQTT 3.1.1 has no negative acknowledgement: to end the connection
 * [MQTT-3.3.5-2] or to leave the publication unacknowledged makes its sender send it again for ever, before everything that is
 * behind it. So they are counted, logged, and told to whoever listens, once a minute for each sender and reason.
 */
export class RefusedPublications {
  readonly #logger: Logger;
  readonly #limited = new LimitedLog();
  readonly #listeners = new Set<(refused: RefusedPublication) => void>();
  count = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  onRefused(listener: (refused: RefusedPublication) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  add(
    { identity, clientId }: PublicationSender,
    topic: string,
    { reason, why }: { reason: RefusalReason; why: string },
  ): void {
    this.count++;
    this.#limited.note(`${identity} ${reason}`, (times) => {
      this.#logger.warn(
        { identity, clientId, topic, reason, why, times },
        "a publication is refused: it is acknowledged and not kept",
      );
      for (const listener of this.#listeners) listener({ identity, clientId, topic, reason, why, times });
    });
  }

  stop(): void {
    this.#limited.stop();
  }
}
