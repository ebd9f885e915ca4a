import { isId } from "./id-text.ts";
import { filterMatches, type Topic } from "./topics.ts";

export const DASHBOARD = "dashboard";
export const ALERTS = "alerts";
export const JOBS = "jobs";
export const SYSTEM = "system";

/** The channels that carry events of all cameras. */
export const BUILT_IN_CHANNELS: readonly string[] = [DASHBOARD, ALERTS, JOBS, SYSTEM];

/** A channel that an operator defines: the topic filters of its events, and the permission to read it. */
interface CustomChannel {
  filters: readonly string[];
  permission: string;
}

export type CustomChannels = ReadonlyMap<string, CustomChannel>;

/** Whether the channel carries events of all cameras. A user with access to some cameras receives only their events. */
export function isNarrowedChannel(channel: string): boolean {
  return BUILT_IN_CHANNELS.includes(channel);
}

export function cameraChannel(camera: string): string {
  if (!isId(camera)) throw new RangeError(`"${camera}" is not a camera id`);
  return `camera:${camera}`;
}

export function cameraOfChannel(channel: string): string | undefined {
  if (!channel.startsWith("camera:")) return undefined;
  const camera = channel.slice("camera:".length);
  return isId(camera) ? camera : undefined;
}

export function channelExists(channel: string, custom: CustomChannels): boolean {
  return BUILT_IN_CHANNELS.includes(channel) || cameraOfChannel(channel) !== undefined || custom.has(channel);
}

export function cameraOfTopic(topic: Topic): string | undefined {
  return "camera" in topic ? topic.camera : undefined;
}

/**
 * The channels that carry a topic's events, without duplicates. No channel carries links, commands or replies: clients
 * get the presence state instead of links, and the sender of a command gets its reply.
 */
export function channelsOf(topic: Topic, topicName: string, custom: CustomChannels): readonly string[] {
  const channels = builtInChannelsOf(topic);
  // No operator's channel carries these topics, even if its filters match.
  if (topic.kind === "camera-link" || topic.kind === "camera-command" || topic.kind === "camera-reply") return channels;
  for (const [name, channel] of custom) {
    if (channel.filters.some((filter) => filterMatches(filter, topicName)) && !channels.includes(name))
      channels.push(name);
  }
  return channels;
}

function builtInChannelsOf(topic: Topic): string[] {
  switch (topic.kind) {
    case "camera-about":
    case "camera-state":
    case "camera-event":
    case "camera-preview":
      return [cameraChannel(topic.camera), DASHBOARD];
    case "camera-alert":
    case "camera-alert-note":
      return [ALERTS, cameraChannel(topic.camera), DASHBOARD];
    case "service-link":
    case "service-job":
    case "service-event":
      return [JOBS, DASHBOARD];
    case "service-alert":
    case "service-alert-note":
      return [ALERTS, JOBS, DASHBOARD];
    case "system":
      return [SYSTEM, DASHBOARD];
    case "channel-event":
      return [topic.channel];
    case "camera-link":
    case "camera-command":
    case "camera-reply":
    case "camera-other":
    case "service-other":
    case "home-assistant":
      return [];
  }
}
