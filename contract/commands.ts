import { z } from "zod";
import { COMMAND_STATUSES, DEFAULT_COMMAND_EXPIRES_IN } from "./command-status.ts";
import { cameraSettingsSchema, MAX_JSON_DEPTH, reportCauseSchema, timestampSchema } from "./events.ts";
import { eventNameSchema, idSchema } from "./ids.ts";
import { jsonDepth } from "./json-text.ts";
import { didYouMean } from "./nearest-name.ts";
import { quoted } from "./visible-text.ts";

export { type CommandStatus, DEFAULT_COMMAND_EXPIRES_IN, FINAL_COMMAND_STATUSES } from "./command-status.ts";

const clockTime = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of day such as 06:30");

const solarEntry = z
  .object({
    kind: z.literal("solar"),
    anchor: z.enum(["sunrise", "sunset", "golden_hour", "blue_hour"]),
    /** Which golden or blue hour of the day. Default: both. */
    when: z.enum(["morning", "evening"]).optional(),
    /** Minutes from the anchor to the start of the window. Negative: the window starts before the anchor. */
    offset_min: z.number().min(-720).max(720),
    duration_min: z.number().positive().max(1440),
    interval_s: z.number().min(1).max(86_400),
  })
  .refine(({ anchor, when }) => when === undefined || anchor === "golden_hour" || anchor === "blue_hour", {
    path: ["when"],
    message: "is valid for golden_hour and blue_hour only: a day has one sunrise and one sunset",
  });

const clockEntry = z.object({
  kind: z.literal("clock"),
  start: clockTime,
  end: clockTime,
  /** ISO days of the week, 1 = Monday. Default: every day. */
  days: z.array(z.number().int().min(1).max(7)).min(1).max(7).optional(),
  interval_s: z.number().min(1).max(86_400),
});

const MAX_SCHEDULE_ENTRIES = 32;

/** When a camera takes pictures: by the sun or by the clock, in the camera's own time zone. */
export const scheduleSchema = z.object({
  entries: z.array(z.discriminatedUnion("kind", [solarEntry, clockEntry])).max(MAX_SCHEDULE_ENTRIES),
});
export type Schedule = z.infer<typeof scheduleSchema>;

/** `state/schedule`. An invalid cause is ignored. */
export const reportedScheduleSchema = scheduleSchema.extend({ cause: reportCauseSchema.optional().catch(undefined) });

/** A schedule that a person wrote. An unknown member is an error, because it is usually a typing error. */
export const strictScheduleSchema = namingUnknown(
  z.object({
    entries: z
      .array(z.discriminatedUnion("kind", [namingUnknown(solarEntry), namingUnknown(clockEntry)]))
      .max(MAX_SCHEDULE_ENTRIES),
  }),
);

const { exposure_s, iso, exposure_compensation, white_balance, quality, hdr } = cameraSettingsSchema.shape;

/** A change of settings. `null` or `"auto"` resets a setting: the camera chooses the value again. */
export const settingsChangeSchema = namingUnknown(
  z.object({
    exposure_s: changeable(exposure_s),
    iso: changeable(iso),
    exposure_compensation: changeable(exposure_compensation),
    white_balance: white_balance.nullable(),
    quality: changeable(quality),
    hdr: changeable(hdr),
  }),
);
/** `null`: reset. Absent: never set. */
export type WantedSettings = z.infer<typeof settingsChangeSchema>;

export const commandArgs = {
  "capture.now": namingUnknown(z.object({})),
  "schedule.set": strictScheduleSchema,
  "settings.set": settingsChangeSchema.refine((settings) => Object.keys(settings).length > 0, "must set something"),
  reboot: namingUnknown(z.object({})),
  /** Sends the preview of a capture. Default: the newest capture. */
  "preview.send": namingUnknown(z.object({ capture: idSchema.optional() })),
  /** Disconnects until the given time. No command reaches a sleeping camera. */
  sleep: namingUnknown(z.object({ until: timestampSchema })),
} as const;
export type CommandName = keyof typeof commandArgs;

export const MAX_COMMAND_EXPIRES_IN = 86_400;

/** The payload of `commands/{name}`, from the backend to the camera. */
export const commandSchema = z.object({
  id: z.string().min(1).max(64),
  name: eventNameSchema,
  args: z.record(z.string(), z.unknown()),
  /** `user:alice`, or `operator` for the operator key. A user id has a prefix, because the id may be any text. */
  issued_by: z.string().max(256),
  issued_at: timestampSchema,
  expires_at: timestampSchema,
});
export type Command = z.infer<typeof commandSchema>;

/** The payload of `commands/{name}` as a client publishes it. The broker adds the rest of {@link commandSchema}. */
export const publishedCommandSchema = z.object({
  id: z.string().min(1).max(64).optional(),
  args: z.record(z.string(), z.unknown()).default({}),
  /** Seconds. */
  expires_in: z.number().positive().optional(),
  expires_at: timestampSchema.optional(),
});

/** Replaces invalid bytes instead of throwing, as cameras do when they decode a command. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Sets `issued_by` of a command that an MQTT client published, because a client could claim any `issued_by`. Returns a
 * payload that is not a JSON object unchanged.
 * @returns undefined for JSON nested deeper than {@link MAX_JSON_DEPTH}
 */
export function withIssuer(payload: Uint8Array, issuedBy: string): Uint8Array | undefined {
  const text = utf8.decode(payload);
  if (jsonDepth(text) > MAX_JSON_DEPTH) return undefined;
  let command: unknown;
  try {
    command = JSON.parse(text);
  } catch {
    return payload;
  }
  if (typeof command !== "object" || command === null || Array.isArray(command)) return payload;
  // Appended as the last member, because a parser keeps the last of two members with one name (ECMA-262, 25.5.1).
  // Encoding the parsed command again would change numbers that a double cannot hold.
  const comma = Object.keys(command).length === 0 ? "" : ",";
  const head = text.slice(0, text.lastIndexOf("}"));
  return new TextEncoder().encode(`${head}${comma}"issued_by":${JSON.stringify(issuedBy)}}`);
}

export const commandStatusSchema = z.enum(COMMAND_STATUSES);

/** The payload of `replies/{name}`, from the camera to the backend. */
export const commandReplySchema = z.object({
  command_id: z.string().min(1).max(64),
  status: z.enum(["accepted", "succeeded", "failed", "rejected", "unknown"]),
  result: z.unknown().optional(),
  error: z.string().max(2000).optional(),
});
export type CommandReply = z.infer<typeof commandReplySchema>;

/** A command request of a dashboard or an HTTP caller. */
export const commandRequestSchema = z.object({
  camera: idSchema,
  name: eventNameSchema,
  args: z.record(z.string(), z.unknown()).default({}),
  /** Seconds. */
  expires_in: z.number().int().min(1).max(MAX_COMMAND_EXPIRES_IN).default(DEFAULT_COMMAND_EXPIRES_IN),
});
export type CommandRequest = z.infer<typeof commandRequestSchema>;

/** Makes an object schema strict: an unknown member is an error that suggests the nearest known name. */
function namingUnknown<Schema extends z.ZodObject>(schema: Schema): Schema {
  const known = Object.keys(schema.shape);
  return schema.clone({
    ...schema.def,
    catchall: z.never(),
    error: (issue: z.core.$ZodRawIssue) =>
      issue.code === "unrecognized_keys"
        ? issue.keys.map((key) => `${quoted(key)} is not known here${didYouMean(key, known)}`).join(", ")
        : undefined,
  });
}

function changeable<Setting extends z.ZodType>(setting: Setting) {
  return z.preprocess((value) => (value === "auto" ? null : value), z.nullable(setting));
}
