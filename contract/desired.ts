import { z } from "zod";
import { scheduleSchema, settingsChangeSchema } from "./commands.ts";
import { timestampSchema } from "./events.ts";

function desired<Value extends z.ZodType>(value: Value) {
  return z.object({
    /** Grows by 1 with every change. */
    version: z.number().int().positive(),
    value,
    /** Who wanted this version: `user:alice`, or `operator` for the operator key. */
    by: z.string().max(256),
    at: timestampSchema,
    /**
     * - `pending`: the camera has not confirmed this version yet. The server sends it as soon as the camera is connected.
     * - `applied`: the camera reports these values.
     * - `differs`: the camera confirmed this version, but reports other values now. The server sends the version again
     *   when the camera connects the next time.
     * - `failed`: the camera rejected the version, or failed to apply it. The server tries again after the camera's next
     *   restart.
     */
    status: z.enum(["pending", "applied", "differs", "failed"]),
    /** Since when the camera's values differ from these. Absent with `applied`. */
    differs_since: timestampSchema.optional(),
    /** With `failed`: the camera's reason. */
    error: z.string().max(2000).optional(),
  });
}

/** A camera's state `desired`: what people want the camera to have, whether or not it is connected. */
export const desiredStateSchema = z.object({
  schedule: desired(scheduleSchema).optional(),
  settings: desired(settingsChangeSchema).optional(),
});
export type DesiredState = z.infer<typeof desiredStateSchema>;
export type DesiredName = keyof DesiredState;
export const DESIRED_NAMES = ["schedule", "settings"] as const satisfies readonly DesiredName[];
