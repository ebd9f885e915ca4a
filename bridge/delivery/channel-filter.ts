import { isNarrowedChannel } from "../../contract/channels.ts";
import type { StateEntry } from "../journal/journal.ts";
import type { Label } from "./frames.ts";

/** What a subscriber sees of the journal: its channels, and the cameras that those of all cameras are narrowed to. */
export interface ChannelFilter {
  /** The same for all views that see the same. */
  readonly key: string;
  readonly channels: ReadonlySet<string>;
  /** Undefined: all cameras. */
  readonly onlyCameras: ReadonlySet<string> | undefined;
}

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

/** Whether an entry of the channel is shown: of one camera's channel, and of an operator's own, all is. */
export function shows(channel: string, onlyCameras: ReadonlySet<string> | undefined, { camera }: Addressed): boolean {
  return onlyCameras === undefined || camera === undefined || onlyCameras.has(camera) || !isNarrowedChannel(channel);
}

/** The channels by which the view sees the entry, or undefined when it does not. */
export function labelOf({ channels, onlyCameras }: ChannelFilter, entry: Addressed): Label | undefined {
  let label: string[] | undefined;
  for (const channel of entry.channels) {
    if (!channels.has(channel) || !shows(channel, onlyCameras, entry)) continue;
    if (label === undefined) label = [channel];
    else label.push(channel);
  }
  return label;
}
