import { z } from "zod";
import { isId } from "./ids.ts";
import { filterMatches, filterProblem, isChannelName, type Topic } from "./topics.ts";

export const DASHBOARD = "dashboard";
export const ALERTS = "alerts";
export const JOBS = "jobs";
export const SYSTEM = "system";

const BUILT_IN: readonly string[] = [DASHBOARD, ALERTS, JOBS, SYSTEM];

/** A channel that an operator adds in `CHANNELS_FILE`: what it carries, and the permission that reads it. */
export const customChannelSchema = z.strictObject({
  filters: z
    .array(
      z.string().superRefine((filter, context) => {
        const problem = filterProblem(filter);
        if (problem !== undefined) context.addIssue({ code: "custom", message: `the filter ${problem}` });
      }),
    )
    .min(1)
    .max(32),
  permission: z.string().regex(/^[a-z0-9-]{1,63}(:[a-z0-9-]{1,63}){1,2}$/, "must be of the form name:read"),
});

export type CustomChannel = z.infer<typeof customChannelSchema>;

/** The content of `CHANNELS_FILE`: channel name → channel. */
export const customChannelsSchema = z.record(
  z.string().refine((name) => isChannelName(name) && !BUILT_IN.includes(name) && !name.startsWith("camera:"), {
    message: "must be 1 to 63 of a-z, 0-9 and '-', and none of the built-in channels",
  }),
  customChannelSchema,
);

export type CustomChannels = ReadonlyMap<string, CustomChannel>;

/** True for a channel that carries what is said of all cameras: a reader narrowed to some sees only theirs in it. */
export function isNarrowedChannel(channel: string): boolean {
  return BUILT_IN.includes(channel);
}

export function cameraChannel(camera: string): string {
  if (!isId(camera)) throw new RangeError(`"${camera}" is not a camera id`);
  return `camera:${camera}`;
}

/** The camera of `camera:north`, or undefined for any other channel. */
export function cameraOfChannel(channel: string): string | undefined {
  if (!channel.startsWith("camera:")) return undefined;
  const camera = channel.slice("camera:".length);
  return isId(camera) ? camera : undefined;
}

/** True when a client may name the channel at all; whether it may read it, its permissions say. */
export function channelExists(channel: string, custom: CustomChannels): boolean {
  return BUILT_IN.includes(channel) || cameraOfChannel(channel) !== undefined || custom.has(channel);
}

/** The camera a topic belongs to, or undefined. */
export function cameraOfTopic(topic: Topic): string | undefined {
  return "camera" in topic ? topic.camera : undefined;
}

/**
 * The channels that carry a topic's events, each once. Links, commands and replies are in none: what a link means
 * is said by the presence state, what came of a command is said to whoever gave it.
 */
export function channelsOf(topic: Topic, topicName: string, custom: CustomChannels): readonly string[] {
  const channels = builtInChannelsOf(topic);
  // Nor in an operator's channel, however wide its filters are.
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
      return [ALERTS, cameraChannel(topic.camera), DASHBOARD];
    case "service-link":
    case "service-job":
    case "service-event":
      return [JOBS, DASHBOARD];
    case "service-alert":
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
      return [];
  }
}
