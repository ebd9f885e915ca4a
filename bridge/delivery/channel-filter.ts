import { isNarrowedChannel } from "../../contract/channels.ts";
import type { StateEntry } from "../journal/journal.ts";
import type { Label } from "./frames.ts";

export interface ChannelFilter {
  /** Filters that select the same entries have equal keys. */
  readonly key: string;
  readonly channels: ReadonlySet<string>;
  /** Channels of all cameras, such as `dashboard`, are narrowed to these cameras. Undefined: all cameras. */
  readonly onlyCameras: ReadonlySet<string> | undefined;
}

/** The filter of a subscriber without channels. */
export const NO_CHANNELS: ChannelFilter = { key: "", channels: new Set(), onlyCameras: undefined };

export function channelFilterOf(
  channels: Iterable<string>,
  onlyCameras: ReadonlySet<string> | undefined,
): ChannelFilter {
  const sorted = [...channels].sort();
  const narrowing = sorted.some(isNarrowedChannel) ? onlyCameras : undefined;
  const key = narrowing === undefined ? sorted.join(" ") : `${sorted.join(" ")} | ${[...narrowing].sort().join(" ")}`;
  return { key, channels: new Set(sorted), onlyCameras: narrowing };
}

type Addressed = Pick<StateEntry, "channels" | "camera">;

/** Whether a reader receives an entry of the channel. A limit to some cameras applies to channels of all cameras. */
export function shows(channel: string, onlyCameras: ReadonlySet<string> | undefined, { camera }: Addressed): boolean {
  return onlyCameras === undefined || camera === undefined || onlyCameras.has(camera) || !isNarrowedChannel(channel);
}

/** The channels by which the filter selects the entry; undefined when it does not select the entry. */
export function labelOf({ channels, onlyCameras }: ChannelFilter, entry: Addressed): Label | undefined {
  let label: string[] | undefined;
  for (const channel of entry.channels) {
    if (!channels.has(channel) || !shows(channel, onlyCameras, entry)) continue;
    if (label === undefined) label = [channel];
    else label.push(channel);
  }
  return label;
}
