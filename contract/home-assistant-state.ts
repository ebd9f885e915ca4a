import { z } from "zod";
import { presenceSchema, timestampSchema } from "./events.ts";

/** Home Assistant's words for a binary sensor. */
const onOffSchema = z.enum(["ON", "OFF"]);

/**
 * A camera's state for Home Assistant, published retained at `home-assistant/{camera}/state`. Null: unknown. Each value
 * is in the form in which Home Assistant shows the value.
 */
export const homeAssistantStateSchema = z.object({
  /** `online` while the camera can be reached or sleeps as announced. Follows the computed presence. */
  availability: z.enum(["online", "offline"]),
  presence: presenceSchema.shape.status.exclude(["unknown"]).nullable(),
  connected: onOffSchema.nullable(),
  /** When the newest picture was taken. */
  last_capture: timestampSchema.nullable(),
  capture_interval_s: z.number().positive().nullable(),
  storage_used_percent: z.number().nullable(),
  storage_free_gb: z.number().nullable(),
  battery_percent: z.number().nullable(),
  temperature_c: z.number().nullable(),
  processor_temperature_c: z.number().nullable(),
  /** Whether any alert is raised, also one that only the camera knows. */
  problem: onOffSchema,
  /** The messages of the raised alerts, by the name of the alert. */
  problems: z.record(z.string(), z.string()),
  /** The alerts that the backend raises, by name. */
  alerts: z.record(z.string(), onOffSchema),
});
export type HomeAssistantState = z.infer<typeof homeAssistantStateSchema>;
