import { z } from "zod";
import { hoursVariable, positiveVariable, setting, type ValuesOf } from "../../platform/config.ts";

export const journalSettings = {
  RETENTION_EVENTS: setting("Events that the journal keeps of each channel.", positiveVariable.default(10_000)),
  RETENTION_HOURS: setting("Age up to which the journal keeps events.", hoursVariable.default(24)),
  RETENTION_SHARE_PERCENT: setting(
    "Share of a channel with several senders. The events of a sender that has more are kept apart, in as many places of " +
      "their own, so that they push out nobody else's events.",
    positiveVariable.max(100, "must be at most 100").default(10),
  ),
  JOURNAL_SYNC: setting(
    "`always` acknowledges an event when it is on the disk. `off` leaves the moment of writing to the operating system: " +
      "faster, but the acknowledged events of the last seconds can be lost when the machine (not the program) dies.",
    z.enum(["always", "off"], { error: "must be always or off" }).default("always"),
  ),
};

export function journalConfig(read: ValuesOf<typeof journalSettings>) {
  return {
    /** Whether an append waits for the disk. */
    sync: read.JOURNAL_SYNC === "always",
    retentionEvents: read.RETENTION_EVENTS,
    retentionHours: read.RETENTION_HOURS,
    sharePercent: read.RETENTION_SHARE_PERCENT,
  };
}
