import { type CustomChannels, cameraOfChannel, channelExists } from "./channels.ts";

interface KnownChannels {
  custom: CustomChannels;
  isRegistered(camera: string): boolean;
  /** Whether the journal has or had events of the channel. */
  hasChannel(channel: string): boolean;
}

/**
 * Why a broadcast to the channel is refused, or undefined. A broadcast never creates a channel: the journal holds a limited
 * number of channels, and 50,000 invented names would leave none for cameras.
 */
export function broadcastProblem(channel: string, known: KnownChannels): string | undefined {
  const name = JSON.stringify(channel);
  if (!channelExists(channel, known.custom)) return `There is no channel ${name}`;
  const camera = cameraOfChannel(channel);
  if (camera === undefined || known.isRegistered(camera) || known.hasChannel(channel)) return undefined;
  return `There is no channel ${name}: camera ${camera} is not registered and has never published`;
}
