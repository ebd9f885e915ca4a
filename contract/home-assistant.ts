import { isId } from "./id-text.ts";
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
