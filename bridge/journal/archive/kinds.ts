import { PRESENCE_STATE, type Topic } from "../../../contract/topics.ts";

/** The kinds of archived events. `command` includes the replies of cameras. */
export const KINDS = [
  "event",
  "state",
  "presence",
  "alert",
  "command",
  "job",
  "preview",
  "broadcast",
  "system",
  "link",
  "other",
] as const;

export type Kind = (typeof KINDS)[number];

export function kindOf(topic: Topic | undefined): Kind {
  switch (topic?.kind) {
    case "camera-event":
    case "service-event":
      return "event";
    case "camera-about":
      return "state";
    case "camera-state":
      return topic.name === PRESENCE_STATE ? "presence" : "state";
    case "camera-alert":
    case "camera-alert-note":
    case "service-alert":
    case "service-alert-note":
      return "alert";
    case "camera-command":
    case "camera-reply":
      return "command";
    case "service-job":
      return "job";
    case "camera-preview":
      return "preview";
    case "channel-event":
      return "broadcast";
    case "system":
      return "system";
    case "camera-link":
    case "service-link":
      return "link";
    default:
      return "other";
  }
}
