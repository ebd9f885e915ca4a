import type { Logger } from "pino";
import { counted } from "../../platform/counted.ts";
import type { OnDamage } from "../../platform/level/damage.ts";
import { describeSession } from "../access/session-names.ts";

/** Sessions that a report of damage names. The log names all. */
const MAX_NAMED = 10;

interface Reporters {
  /** Called when damage is found, which is also logged. */
  onDamage?: OnDamage | undefined;
  logger: Logger;
}

/** Reports the sessions whose rows are lost. @param keys at least one */
export function reportUnreadable(keys: readonly string[], { onDamage, logger }: Reporters): void {
  const named = keys.map(describeSession);
  logger.error({ sessions: named }, "MQTT sessions lost: records missing or unreadable");
  onDamage?.({
    store: "journal",
    found: "sessions whose records are unreadable",
    missing: `the sessions ${named.join(", ")} are lost: their clients must subscribe again`,
  });
}

/** Reports the sessions that may have missed publications, which the log has named. @param keys at least one */
export function reportMissed(keys: readonly string[], { onDamage }: Reporters): void {
  const named = keys.slice(0, MAX_NAMED).map(describeSession).join(", ");
  const rest = keys.length > MAX_NAMED ? `, and ${keys.length - MAX_NAMED} more` : "";
  onDamage?.({
    store: "journal",
    found: "publications are lost that MQTT sessions had not received",
    missing: `${counted(keys.length, "session")} may have missed messages: ${named}${rest}`,
  });
}
