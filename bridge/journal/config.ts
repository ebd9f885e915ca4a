import { z } from "zod";
import { hoursVariable, positiveVariable, setting, type ValuesOf } from "../../platform/config.ts";

export const journalSettings = {
  RETENTION_EVENTS: setting(
    "The largest number of events that the journal keeps of each channel.",
    positiveVariable.default(10_000),
    { mustAgree: true },
  ),
  RETENTION_HOURS: setting("The largest age of events that the journal keeps.", hoursVariable.default(24), {
    mustAgree: true,
  }),
  RETENTION_SHARE_PERCENT: setting(
    "The largest share of a channel with several senders for one sender. Events beyond it go to a separate log of the " +
      "same size, so that the sender does not evict the events of others.",
    positiveVariable.max(100, "must be at most 100").default(10),
    { mustAgree: true },
  ),
  JOURNAL_SYNC: setting(
    "`always` acknowledges an event once it is on the disk. `off` lets the operating system decide when to write: " +
      "faster, but the acknowledged events of the last seconds can be lost when the machine (not the program) crashes.",
    z.enum(["always", "off"], { error: "must be always or off" }).default("always"),
  ),
};

export function journalConfig(read: ValuesOf<typeof journalSettings>) {
  return {
    sync: read.JOURNAL_SYNC === "always",
    retentionEvents: read.RETENTION_EVENTS,
    retentionHours: read.RETENTION_HOURS,
    sharePercent: read.RETENTION_SHARE_PERCENT,
  };
}
