import { join } from "node:path";
import { z } from "zod";
import { countVariable, positiveVariable, setting, type ValuesOf } from "../../../platform/config.ts";
import { KINDS, type Kind } from "./kinds.ts";

const RULE = /^([a-z]+)=(\d{1,6})$/;

export const archiveSettings = {
  ARCHIVE: setting(
    "`on` copies every event into a database and keeps it there beyond the retention of the journal. `off` copies nothing, " +
      "and `GET /events` answers 503.",
    z.enum(["on", "off"], { error: "must be on or off" }).default("on"),
    { mustAgree: true },
  ),
  DATABASE_URL: setting(
    "The PostgreSQL database of the archive, such as `postgres://user:password@host:5432/skylapse`. All nodes share it. " +
      "Without it, each node keeps an archive of its own in SQLite.",
    z
      .string()
      .regex(/^postgres(?:ql)?:\/\/\S+$/, "must be of the form postgres://user:password@host:5432/database")
      .optional(),
    { mustAgree: true, isSecret: true, defaultText: "SQLite in `DATA_PATH/archive.db`", values: "a `postgres://` URL" },
  ),
  ARCHIVE_MAX_LAG_EVENTS: setting(
    "While the archive is away, the journal keeps events beyond its own retention until they are archived: at most this " +
      "many, about 1 KB each. Older ones are then missing in the archive, which records the gap. Redis also stops at 75 % " +
      "of its `maxmemory`.",
    positiveVariable.default(1_000_000),
    { mustAgree: true },
  ),
  ARCHIVE_RETENTION_DAYS: setting(
    "Age at which events leave the archive; 0 keeps them for ever.",
    countVariable.default(0),
    { mustAgree: true },
  ),
  ARCHIVE_RETENTION_KINDS: setting(
    "Other ages for some kinds of events, in days, separated by commas, such as `state=90,alert=3650`; 0 keeps them for " +
      `ever. The kinds: ${KINDS.join(", ")}.`,
    z.string().default("").transform(readRules),
    { mustAgree: true, defaultText: "none", values: "`kind=days`, separated by commas" },
  ),
};

/** The SQLite file of an archive without `DATABASE_URL`. SQLite keeps further files beside it, named `archive.db-…`. */
export function archiveFile(dataPath: string): string {
  return join(dataPath, "archive.db");
}

/** The age in days at which events of the kind leave the archive. A kind that is not listed is kept for ever. */
export type RetentionDays = Partial<Record<Kind, number>>;

export function archiveConfig(read: ValuesOf<typeof archiveSettings>) {
  const retentionDays: RetentionDays = {};
  for (const kind of KINDS) {
    const days = read.ARCHIVE_RETENTION_KINDS[kind] ?? read.ARCHIVE_RETENTION_DAYS;
    if (days > 0) retentionDays[kind] = days;
  }
  return {
    isOn: read.ARCHIVE === "on",
    databaseUrl: read.DATABASE_URL,
    maxLagEvents: read.ARCHIVE_MAX_LAG_EVENTS,
    retentionDays,
  };
}

function readRules(text: string, context: z.RefinementCtx): RetentionDays {
  const rules: RetentionDays = {};
  for (const rule of text.split(",").map((part) => part.trim())) {
    if (rule === "") continue;
    const [, name, days] = RULE.exec(rule) ?? [];
    const kind = KINDS.find((known) => known === name);
    if (kind !== undefined) rules[kind] = Number(days);
    else
      context.addIssue({ code: "custom", message: `must be like state=90,alert=0 with a kind of ${KINDS.join(", ")}` });
  }
  return rules;
}
