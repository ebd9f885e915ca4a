import { z } from "zod";
import { presenceSchema, timestampSchema } from "./events.ts";
import { isId } from "./ids.ts";
import type { TopicTree } from "./topics.ts";

/** The default of `HOME_ASSISTANT_PREFIX`, and of Home Assistant's own setting. */
export const DEFAULT_DISCOVERY_PREFIX = "homeassistant";

type DiscoveryTree = Pick<TopicTree, "root" | "discoveryPrefix">;

/**
 * The id of a camera at Home Assistant, which one Home Assistant may see beside the cameras of other roots. The id
 * consists of the characters that Home Assistant allows in a discovery topic: `a-z`, `A-Z`, `0-9`, `_` and `-`.
 */
export function homeAssistantId(root: string, camera: string): string {
  return `${root.replaceAll("/", "_").replaceAll(/[^a-zA-Z0-9_-]/g, "-")}_${camera}`;
}

/** The topic of a camera's announcement, retained: `homeassistant/device/skylapse_v1_north/config`. */
export function discoveryTopic(prefix: string, root: string, camera: string): string {
  return `${prefix}/device/${homeAssistantId(root, camera)}/config`;
}

/** The camera of which a topic is the announcement; undefined for every other topic. */
export function discoveredCamera({ root, discoveryPrefix: prefix }: DiscoveryTree, topic: string): string | undefined {
  if (prefix === undefined || !topic.startsWith(`${prefix}/`)) return undefined;
  const camera = /_([^_/]*)\/config$/.exec(topic)?.[1];
  return camera !== undefined && isId(camera) && topic === discoveryTopic(prefix, root, camera) ? camera : undefined;
}

/** Covers every filter that Home Assistant subscribes to for discovery. */
export function discoveryFilter({ discoveryPrefix }: DiscoveryTree): string | undefined {
  return discoveryPrefix === undefined ? undefined : `${discoveryPrefix}/#`;
}

/** What Home Assistant reads about one camera, or about all. */
export function homeAssistantFilter({ root }: DiscoveryTree, camera?: string): string {
  return camera === undefined ? `${root}/home-assistant/#` : `${root}/home-assistant/${camera}/#`;
}

/** The topics below which the backend publishes for Home Assistant. */
export function homeAssistantBranches({ root, discoveryPrefix }: DiscoveryTree): string[] {
  return [`${root}/home-assistant`, ...(discoveryPrefix === undefined ? [] : [`${discoveryPrefix}/device`])];
}

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
