import { type CustomChannels, cameraOfChannel, channelExists } from "./channels.ts";

/** Answers which channels exist. */
export interface KnownChannels {
  custom: CustomChannels;
  /** Whether the camera is registered. The camera need not have connected yet. */
  isRegistered(camera: string): boolean;
  /** Whether the journal has or had events of the channel. */
  hasChannel(channel: string): boolean;
}

/**
 * Why a broadcast to the channel is refused; undefined if it is possible. A broadcast never creates a channel: each channel
 * takes one of the journal's places, and 50,000 made-up names would take the places of cameras.
 */
export function broadcastProblem(channel: string, known: KnownChannels): string | undefined {
  const name = JSON.stringify(channel);
  if (!channelExists(channel, known.custom)) return `There is no channel ${name}`;
  const camera = cameraOfChannel(channel);
  if (camera === undefined || known.isRegistered(camera) || known.hasChannel(channel)) return undefined;
  return `There is no channel ${name}: camera ${camera} is not registered and has never published`;
}
