import type { Logger } from "pino";
import { LimitedLog } from "../../platform/limited-log.ts";
import { Listeners } from "../../platform/listeners.ts";
import type { RefusedPublication } from "../../platform/publications.ts";
import { namesOf } from "./session-names.ts";

export type PublicationSender = Pick<RefusedPublication, "identity" | "clientId">;
export type PublicationRefusal = Pick<RefusedPublication, "reason" | "why">;

/**
 * Publications that are acknowledged and discarded. MQTT 3.1.1 has no negative acknowledgement: without an
 * acknowledgement [MQTT-3.3.5-2], the sender would resend the publication forever and hold back everything behind it.
 * So refusals are counted, logged and reported.
 */
export class RefusedPublications {
  readonly #logger: Logger;
  readonly #limited = new LimitedLog();
  /** Called once a minute per sender and reason. */
  readonly reports: Listeners<[RefusedPublication]>;
  count = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
    this.reports = new Listeners(logger);
  }

  add({ identity, clientId }: PublicationSender, topic: string, { reason, why }: PublicationRefusal): void {
    this.count++;
    this.#limited.note(`${identity} ${reason}`, (times) => {
      const refused = { identity, clientId, topic, reason, why, times };
      this.#logger.warn({ ...refused, ...namesOf(refused) }, "publication refused: acknowledged and discarded");
      this.reports.call(refused);
    });
  }

  stop(): void {
    this.#limited.stop();
  }
}
