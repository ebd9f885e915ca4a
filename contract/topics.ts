import { isEventName, isId } from "./id-text.ts";

/** The default of `TOPIC_ROOT`, the prefix of every topic. */
export const DEFAULT_TOPIC_ROOT = "skylapse/v1";

/** The filters of everything that cameras and processing services publish. Commands are not among them. */
export function deviceFilters({ root }: Pick<TopicTree, "root">): string[] {
  const ofCameras = ["link", "about", "state/+", "events/+", "alerts/+", "previews/+", "replies/+"];
  return [...ofCameras.map((rest) => `${root}/cameras/+/${rest}`), `${root}/processing/#`];
}

/** The filter of broadcasts. */
export function broadcastFilter({ root }: Pick<TopicTree, "root">): string {
  return `${root}/channels/+/events/+`;
}

/** The longest topic or filter, UTF-16 units. MQTT allows 65,535 bytes [MQTT-4.7.3-3]. */
export const MAX_TOPIC_LENGTH = 512;

/** The most levels of a topic or filter. The deepest topic of the contract has 6 levels with the default root. */
export const MAX_TOPIC_LEVELS = 16;

/** A parsed topic. `camera-other` and `service-other`: a topic of a camera or service that the contract does not define. */
export type Topic =
  | { kind: "camera-link"; camera: string }
  | { kind: "camera-about"; camera: string }
  | { kind: "camera-state"; camera: string; name: string }
  | { kind: "camera-event"; camera: string; event: string }
  | { kind: "camera-alert"; camera: string; name: string }
  | { kind: "camera-alert-note"; camera: string; name: string; note: AlertNote }
  | { kind: "camera-preview"; camera: string; capture: string }
  | { kind: "camera-command"; camera: string; command: string }
  | { kind: "camera-reply"; camera: string; command: string }
  | { kind: "camera-other"; camera: string }
  | { kind: "service-link"; service: string }
  | { kind: "service-job"; service: string; job: string }
  | { kind: "service-event"; service: string; event: string }
  | { kind: "service-alert"; service: string; name: string }
  | { kind: "service-alert-note"; service: string; name: string; note: AlertNote }
  | { kind: "service-other"; service: string }
  | { kind: "system"; name: string }
  /** What the backend publishes for Home Assistant about the camera `of`. */
  | { kind: "home-assistant"; of: string; name: HomeAssistantName }
  | { kind: "channel-event"; channel: string; event: string };

const HOME_ASSISTANT = "home-assistant";
const HOME_ASSISTANT_NAMES = ["state", "picture"] as const;
type HomeAssistantName = (typeof HOME_ASSISTANT_NAMES)[number];

/** What people did about an alert. Only the backend publishes below an alert. */
export const ALERT_NOTES = ["acknowledgement", "mute"] as const;
export type AlertNote = (typeof ALERT_NOTES)[number];

export const PRESENCE_STATE = "presence";
export const GAPS_STATE = "gaps";
export const DESIRED_STATE = "desired";
/** What operators wrote about the camera. */
export const RECORD_STATE = "record";

/** The `system` topic of what happens to the connection to another broker. */
export const BROKER_EVENTS = "broker";
/** The `system` topic on which a server publishes to itself, to learn that it has read everything from another broker. */
export const BROKER_CHECK = "broker-check";

const BACKEND_STATES: ReadonlySet<string> = new Set([PRESENCE_STATE, GAPS_STATE, DESIRED_STATE, RECORD_STATE]);

/** Whether only the backend may publish this state of a camera. */
export function isBackendState(name: string): boolean {
  return BACKEND_STATES.has(name);
}

/** True for states, false for events. */
export function isRetained({ kind }: Topic): boolean {
  switch (kind) {
    case "camera-event":
    case "camera-preview":
    case "camera-command":
    case "camera-reply":
    case "service-event":
    case "channel-event":
      return false;
    default:
      return true;
  }
}

const CHANNEL_NAME = /^[a-z0-9][a-z0-9-]{0,62}(?::[a-z0-9][a-z0-9-]{0,62})?$/;

/** Whether the text has the form of a channel name, such as `camera:north`. The channel need not exist. */
export function isChannelName(text: string): boolean {
  return CHANNEL_NAME.test(text);
}

/** Builds and parses topics below one root. `build` throws `RangeError` for a malformed name. */
export interface TopicTree {
  readonly root: string;
  /** The prefix of the topics by which Home Assistant discovers cameras. Undefined: cameras are not announced. */
  readonly discoveryPrefix: string | undefined;
  parse(topic: string): Topic | undefined;
  build(topic: Exclude<Topic, { kind: "camera-other" | "service-other" }>): string;
  owns(topicOrFilter: string): boolean;
}

/** @param discoveryPrefix see {@link TopicTree.discoveryPrefix} */
export function topicTree(root: string = DEFAULT_TOPIC_ROOT, discoveryPrefix?: string): TopicTree {
  const problem = topicProblem(root);
  if (problem !== undefined) throw new RangeError(`topic root ${problem}`);
  const prefix = `${root}/`;
  return {
    root,
    discoveryPrefix,
    parse: (topic) => (topic.startsWith(prefix) ? parseRelativeTopic(topic.slice(prefix.length)) : undefined),
    build: (topic) => prefix + below(topic),
    owns: (topicOrFilter) => topicOrFilter === root || topicOrFilter.startsWith(prefix),
  };
}

/** Parses a topic without its root, such as `cameras/north/about`. */
export function parseRelativeTopic(path: string): Topic | undefined {
  if (path.length > MAX_TOPIC_LENGTH) return undefined;
  const [branch, owner, kind, name, ...rest] = path.split("/");
  if (owner === undefined) return undefined;
  switch (branch) {
    case "cameras":
      if (!isId(owner) || kind === undefined) return undefined;
      return parseCamera(owner, kind, name, rest) ?? otherBelow({ kind: "camera-other", camera: owner }, kind, path);
    case "processing":
      if (!isId(owner) || kind === undefined) return undefined;
      return parseService(owner, kind, name, rest) ?? otherBelow({ kind: "service-other", service: owner }, kind, path);
    case "system":
      return isId(owner) && kind === undefined ? { kind: "system", name: owner } : undefined;
    case HOME_ASSISTANT:
      return isId(owner) && rest.length === 0 && name === undefined && isHomeAssistantName(kind)
        ? { kind: HOME_ASSISTANT, of: owner, name: kind }
        : undefined;
    case "channels":
      return isChannelName(owner) && kind === "events" && name !== undefined && rest.length === 0 && isEventName(name)
        ? { kind: "channel-event", channel: owner, event: name }
        : undefined;
    default:
      return undefined;
  }
}

function parseCamera(camera: string, kind: string, name: string | undefined, rest: string[]): Topic | undefined {
  if (name === undefined) {
    if (kind === "link") return { kind: "camera-link", camera };
    if (kind === "about") return { kind: "camera-about", camera };
  } else if (rest.length === 0) {
    if (kind === "state" && isId(name)) return { kind: "camera-state", camera, name };
    if (kind === "events" && isEventName(name)) return { kind: "camera-event", camera, event: name };
    if (kind === "alerts" && isId(name)) return { kind: "camera-alert", camera, name };
    if (kind === "previews" && isId(name)) return { kind: "camera-preview", camera, capture: name };
    if (kind === "commands" && isEventName(name)) return { kind: "camera-command", camera, command: name };
    if (kind === "replies" && isEventName(name)) return { kind: "camera-reply", camera, command: name };
  } else if (kind === "alerts") {
    const note = alertNote(name, rest);
    if (note !== undefined) return { kind: "camera-alert-note", camera, name, note };
  }
  return undefined;
}

function parseService(service: string, kind: string, name: string | undefined, rest: string[]): Topic | undefined {
  if (name === undefined) {
    if (kind === "link") return { kind: "service-link", service };
  } else if (rest.length === 0) {
    if (kind === "jobs" && isId(name)) return { kind: "service-job", service, job: name };
    if (kind === "events" && isEventName(name)) return { kind: "service-event", service, event: name };
    if (kind === "alerts" && isId(name)) return { kind: "service-alert", service, name };
  } else if (kind === "alerts") {
    const note = alertNote(name, rest);
    if (note !== undefined) return { kind: "service-alert-note", service, name, note };
  }
  return undefined;
}

function alertNote(name: string, rest: readonly string[]): AlertNote | undefined {
  return isId(name) && rest.length === 1 ? ALERT_NOTES.find((note) => note === rest[0]) : undefined;
}

function isHomeAssistantName(name: string | undefined): name is HomeAssistantName {
  return HOME_ASSISTANT_NAMES.some((known) => known === name);
}

/** Rejects undefined topics below `commands`, where only commands may be published. */
function otherBelow(topic: Topic, kind: string, path: string): Topic | undefined {
  return kind === "commands" || topicProblem(path) !== undefined ? undefined : topic;
}

function below(topic: Exclude<Topic, { kind: "camera-other" | "service-other" }>): string {
  switch (topic.kind) {
    case "camera-link":
      return `cameras/${id(topic.camera)}/link`;
    case "camera-about":
      return `cameras/${id(topic.camera)}/about`;
    case "camera-state":
      return `cameras/${id(topic.camera)}/state/${id(topic.name)}`;
    case "camera-event":
      return `cameras/${id(topic.camera)}/events/${eventName(topic.event)}`;
    case "camera-alert":
      return `cameras/${id(topic.camera)}/alerts/${id(topic.name)}`;
    case "camera-alert-note":
      return `cameras/${id(topic.camera)}/alerts/${id(topic.name)}/${topic.note}`;
    case "camera-preview":
      return `cameras/${id(topic.camera)}/previews/${id(topic.capture)}`;
    case "camera-command":
      return `cameras/${id(topic.camera)}/commands/${eventName(topic.command)}`;
    case "camera-reply":
      return `cameras/${id(topic.camera)}/replies/${eventName(topic.command)}`;
    case "service-link":
      return `processing/${id(topic.service)}/link`;
    case "service-job":
      return `processing/${id(topic.service)}/jobs/${id(topic.job)}`;
    case "service-event":
      return `processing/${id(topic.service)}/events/${eventName(topic.event)}`;
    case "service-alert":
      return `processing/${id(topic.service)}/alerts/${id(topic.name)}`;
    case "service-alert-note":
      return `processing/${id(topic.service)}/alerts/${id(topic.name)}/${topic.note}`;
    case "system":
      return `system/${id(topic.name)}`;
    case HOME_ASSISTANT:
      return `${HOME_ASSISTANT}/${id(topic.of)}/${topic.name}`;
    case "channel-event":
      if (!isChannelName(topic.channel)) throw new RangeError(`"${topic.channel}" is not a channel name`);
      return `channels/${topic.channel}/events/${eventName(topic.event)}`;
  }
}

function id(text: string): string {
  if (!isId(text)) throw new RangeError(`"${text}" is not an id: 1 to 63 of a-z, 0-9 and '-'`);
  return text;
}

function eventName(text: string): string {
  if (!isEventName(text)) throw new RangeError(`"${text}" is not an event name, such as capture.completed`);
  return text;
}

/** What is wrong with a topic, or undefined. Stricter than MQTT: no empty level, no control or format character. */
export function topicProblem(topic: string): string | undefined {
  return topic.includes("#") || topic.includes("+") ? "contains a wildcard" : levelsProblem(topic);
}

/** What is wrong with a topic filter, or undefined [MQTT-4.7.1-2, MQTT-4.7.1-3]. */
export function filterProblem(filter: string): string | undefined {
  const levels = filter.split("/");
  for (const [index, level] of levels.entries()) {
    if (level.includes("#") && (level !== "#" || index !== levels.length - 1))
      return "has '#' in another place than its last level";
    if (level.includes("+") && level !== "+") return "has '+' inside a level";
  }
  return levelsProblem(filter);
}

function levelsProblem(text: string): string | undefined {
  if (text.length === 0) return "is empty";
  if (text.length > MAX_TOPIC_LENGTH) return `is longer than ${MAX_TOPIC_LENGTH} characters`;
  // Control (C0, C1), format (U+202E …), surrogate and line separator characters make a log unreadable.
  if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)) return "contains a control or format character";
  // A decoder replaces invalid UTF-8 with this character [MQTT-1.5.3-1], so two topics could become one.
  if (text.includes("\ufffd")) return "is not UTF-8";
  const levels = text.split("/");
  if (levels.length > MAX_TOPIC_LEVELS) return `has more than ${MAX_TOPIC_LEVELS} levels`;
  if (levels.includes("")) return "has an empty level";
  return undefined;
}

/** A client's filters are compared with each of its messages: without a wildcard, the comparison costs next to nothing. */
export function hasWildcard(filter: string): boolean {
  return filter.includes("+") || filter.endsWith("#");
}

/** Whether a topic matches a filter, by MQTT 3.1.1 section 4.7 (`#` and `+` do not match a leading `$`). */
export function filterMatches(filter: string, topic: string): boolean {
  if (!hasWildcard(filter)) return filter === topic;
  if (topic.startsWith("$") && !filter.startsWith("$")) return false;
  return levelsCover(filter.split("/"), topic.split("/"));
}

/** Whether `wide` matches every topic that `narrow` matches. */
export function filterCovers(wide: string, narrow: string): boolean {
  if (narrow.startsWith("$") && !wide.startsWith("$")) return false;
  return levelsCover(wide.split("/"), narrow.split("/"));
}

function levelsCover(wide: string[], narrow: string[]): boolean {
  for (const [index, level] of wide.entries()) {
    if (level === "#") return true;
    const other = narrow[index];
    if (other === undefined || other === "#") return false;
    if (level !== "+" && level !== other) return false;
  }
  return wide.length === narrow.length;
}
