import { CAMERA_ALERTS, LINK_GAP_EVENT, PUBLICATION_REFUSED_EVENT, SERVICE_ALERTS } from "../../../contract/events.ts";
import {
  BROKER_CHECK,
  broadcastFilter,
  deviceFilters,
  isBackendState,
  isRetained,
  type Topic,
  type TopicTree,
} from "../../../contract/topics.ts";
import type { InwardTopics } from "./receiver.ts";

const BACKEND_ALERTS: ReadonlySet<string> = new Set<string>([...CAMERA_ALERTS, ...SERVICE_ALERTS]);
const BACKEND_EVENTS: ReadonlySet<string> = new Set([LINK_GAP_EVENT, PUBLICATION_REFUSED_EVENT]);

/**
 * Commands are not read: the broker passes them to the camera itself. With MQTT 3.1.1, broadcasts are not read either,
 * because the server's own ones could not be told from others.
 */
export function inwardTopics(tree: TopicTree, version: 4 | 5): InwardTopics {
  return {
    filters: [...deviceFilters(tree), ...(version === 5 ? [broadcastFilter(tree)] : [])],
    check: tree.build({ kind: "system", name: BROKER_CHECK }),
    read(name) {
      const topic = tree.parse(name);
      if (topic === undefined) return { identity: STRANGER, isState: false, camera: undefined };
      if (isOfBackend(topic)) return undefined;
      const camera = topic.kind === "camera-link" ? topic.camera : undefined;
      return { identity: identityOf(topic), isState: isRetained(topic), camera };
    },
  };
}

/** The sender of what nobody knows: the other broker does not say who published. */
const STRANGER = "mqtt";

function identityOf(topic: Topic): string {
  if ("camera" in topic) return `device:${topic.camera}`;
  return "service" in topic ? `service:${topic.service}` : STRANGER;
}

/** Whether only the backend publishes on the topic. */
function isOfBackend(topic: Topic): boolean {
  switch (topic.kind) {
    case "system":
    case "camera-alert-note":
    case "service-alert-note":
      return true;
    case "camera-state":
      return isBackendState(topic.name);
    case "camera-alert":
    case "service-alert":
      return BACKEND_ALERTS.has(topic.name);
    case "camera-event":
    case "service-event":
      return BACKEND_EVENTS.has(topic.event);
    default:
      return false;
  }
}
