// What a camera says about itself: its description, what it can do, its settings.

import { z } from "zod";
import { eventNameSchema } from "./ids.ts";

const MAX_VALUES = 100;
const MAX_COMMANDS = 64;

export const cameraSettingsSchema = z.object({
  exposure_s: z.number().positive().max(600).optional(),
  iso: z.number().int().min(50).max(102400).optional(),
  /** EV. */
  exposure_compensation: z.number().min(-5).max(5).optional(),
  white_balance: z.enum(["auto", "daylight", "cloudy", "tungsten", "fluorescent"]).optional(),
  /** JPEG quality. */
  quality: z.number().int().min(1).max(100).optional(),
  hdr: z.boolean().optional(),
});
export type CameraSettings = z.infer<typeof cameraSettingsSchema>;

/** The values that a number can be set to: a list, or a range with both ends. */
const numbers = z.union([
  z.object({ values: z.array(z.number()).min(1).max(MAX_VALUES) }),
  z.object({ min: z.number(), max: z.number(), step: z.number().positive().optional() }),
]);
export type NumberChoice = z.infer<typeof numbers>;

/** The settings that a camera can be told, each with its values. An absent setting cannot be set. */
const adjustableSettingsSchema = z.object({
  /** Seconds. */
  exposure_s: numbers.optional(),
  iso: numbers.optional(),
  /** EV. */
  exposure_compensation: numbers.optional(),
  white_balance: z
    .object({ values: z.array(cameraSettingsSchema.shape.white_balance.unwrap()).min(1).max(MAX_VALUES) })
    .optional(),
  /** JPEG quality. */
  quality: numbers.optional(),
  hdr: z.object({ values: z.array(z.boolean()).min(1).max(2) }).optional(),
});
export type AdjustableSettings = z.infer<typeof adjustableSettingsSchema>;

/** What a camera can do, in its `about`. */
export const capabilitiesSchema = z.object({
  /** The commands that the camera carries out. */
  commands: z.array(eventNameSchema).max(MAX_COMMANDS),
  settings: adjustableSettingsSchema,
  /** The longest sleep that a command may ask for, days. Default: no limit. */
  max_sleep_days: z.number().positive().optional(),
});
export type Capabilities = z.infer<typeof capabilitiesSchema>;

export const cameraAboutSchema = z.object({
  model: z.string().max(200),
  firmware: z.string().max(200),
  name: z.string().max(200).optional(),
  location: z.object({
    lat: z.number().min(-90).max(90),
    lon: z.number().min(-180).max(180),
    timezone: z.string().max(64),
  }),
  /** Seconds between two captures in the current or next window of the schedule. */
  capture_interval_s: z.number().positive(),
  /** Absent if the camera does not say what it can do. Invalid capabilities are ignored. */
  capabilities: capabilitiesSchema.optional().catch(undefined),
});
export type CameraAbout = z.infer<typeof cameraAboutSchema>;

/**
 * Why a camera reports its schedule or settings. Older senders do not say it.
 * - `restart`: the first report after the program started.
 * - `reconnect`: a later report on a new connection.
 * - `command`: a command changed the schedule or the settings.
 */
export const reportCauseSchema = z.object({
  kind: z.enum(["restart", "reconnect", "command"]),
  command_id: z.string().max(64).optional(),
  /** The `issued_by` of the command. */
  by: z.string().max(256).optional(),
});
export type ReportCause = z.infer<typeof reportCauseSchema>;

/** `state/settings`. An invalid cause is ignored. */
export const reportedSettingsSchema = cameraSettingsSchema.extend({
  cause: reportCauseSchema.optional().catch(undefined),
});
