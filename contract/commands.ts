import { z } from "zod";
import { cameraSettingsSchema, MAX_JSON_DEPTH, timestampSchema } from "./events.ts";
import { eventNameSchema, idSchema } from "./ids.ts";
import { jsonDepth } from "./json-text.ts";
import { didYouMean } from "./nearest-name.ts";
import { quoted } from "./visible-text.ts";

const clockTime = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of day such as 06:30");

const solarEntry = z
  .object({
    kind: z.literal("solar"),
    anchor: z.enum(["sunrise", "sunset", "golden_hour", "blue_hour"]),
    /** Which of the two golden or blue hours of a day. Default: both. */
    when: z.enum(["morning", "evening"]).optional(),
    /** Minutes after the anchor at which the window opens; negative is before. */
    offset_min: z.number().min(-720).max(720),
    duration_min: z.number().positive().max(1440),
    interval_s: z.number().min(1).max(86_400),
  })
  .refine(({ anchor, when }) => when === undefined || anchor === "golden_hour" || anchor === "blue_hour", {
    path: ["when"],
    message: "is for golden_hour and blue_hour: there is one sunrise and one sunset a day",
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

/** A schedule that a person wrote: a member that nobody knows is an error, for it is mostly a misspelt one. */
export const strictScheduleSchema = namingUnknown(
  z.object({
    entries: z
      .array(z.discriminatedUnion("kind", [namingUnknown(solarEntry), namingUnknown(clockEntry)]))
      .max(MAX_SCHEDULE_ENTRIES),
  }),
);

const { exposure_s, iso, exposure_compensation, white_balance, quality, hdr } = cameraSettingsSchema.shape;

/** Settings to be changed. `null`, and `"auto"` too, takes one back: the camera chooses again. */
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
/** What was asked for: `null` is a setting that was taken back, an absent one was never set. */
export type WantedSettings = z.infer<typeof settingsChangeSchema>;

/** The commands a camera of this system knows, and what each takes. */
export const commandArgs = {
  "capture.now": namingUnknown(z.object({})),
  "schedule.set": strictScheduleSchema,
  "settings.set": settingsChangeSchema.refine((settings) => Object.keys(settings).length > 0, "must set something"),
  reboot: namingUnknown(z.object({})),
  /** Sends a picture that was taken: the newest, or the one of that name. */
  "preview.send": namingUnknown(z.object({ capture: idSchema.optional() })),
  /** Leaves the link until then: no command reaches a camera that sleeps. */
  sleep: namingUnknown(z.object({ until: timestampSchema })),
} as const;
export type CommandName = keyof typeof commandArgs;

/** Seconds a command waits for its camera unless `expires_in` says otherwise. */
export const DEFAULT_COMMAND_EXPIRES_IN = 30;
export const MAX_COMMAND_EXPIRES_IN = 86_400;

/** What travels to the camera below `commands/{name}`. */
export const commandSchema = z.object({
  id: z.string().min(1).max(64),
  name: eventNameSchema,
  args: z.record(z.string(), z.unknown()),
  /** `user:alice`, `operator` for the operator key. A user may have any name, so his is never without its prefix. */
  issued_by: z.string().max(256),
  issued_at: timestampSchema,
  expires_at: timestampSchema,
});
export type Command = z.infer<typeof commandSchema>;

/** Not fatal, for a camera is not either. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A command as an MQTT client has published it, with `issued_by` as it is: what a client says of that is a claim. What is
 * no JSON object is no command, and comes back as it was.
 * @returns undefined when it is nested deeper than {@link MAX_JSON_DEPTH}
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
  // Put behind all others, where it outweighs any claim: of two members of one name the last counts (ECMA-262, 25.5.1). To
  // write the command anew would change numbers that a double cannot hold.
  const comma = Object.keys(command).length === 0 ? "" : ",";
  const head = text.slice(0, text.lastIndexOf("}"));
  return new TextEncoder().encode(`${head}${comma}"issued_by":${JSON.stringify(issuedBy)}}`);
}

/** The life of a command. Those in {@link FINAL_COMMAND_STATUSES} are its ends. */
export const commandStatusSchema = z.enum([
  "sent",
  "delivered",
  "accepted",
  "succeeded",
  "failed",
  "rejected",
  /** The camera restarted while it carried the command out, and cannot tell whether it was done. */
  "unknown",
  "timed_out",
  "expired",
]);
export type CommandStatus = z.infer<typeof commandStatusSchema>;

export const FINAL_COMMAND_STATUSES: ReadonlySet<CommandStatus> = new Set([
  "succeeded",
  "failed",
  "rejected",
  "unknown",
  "timed_out",
  "expired",
]);

/** What the camera answers below `replies/{name}`. */
export const commandReplySchema = z.object({
  command_id: z.string().min(1).max(64),
  status: z.enum(["accepted", "succeeded", "failed", "rejected", "unknown"]),
  result: z.unknown().optional(),
  error: z.string().max(2000).optional(),
});
export type CommandReply = z.infer<typeof commandReplySchema>;

/** What a dashboard or an HTTP caller asks for. */
export const commandRequestSchema = z.object({
  camera: idSchema,
  name: eventNameSchema,
  args: z.record(z.string(), z.unknown()).default({}),
  /** Seconds. */
  expires_in: z.number().int().min(1).max(MAX_COMMAND_EXPIRES_IN).default(DEFAULT_COMMAND_EXPIRES_IN),
});
export type CommandRequest = z.infer<typeof commandRequestSchema>;

/** The same object, with an error for each member that it does not have, which names the one that was likely meant. */
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
