import { type CustomChannels, cameraOfChannel, channelExists } from "./channels.ts";

/** What tells which channels there are. */
export interface KnownChannels {
  custom: CustomChannels;
  /** Whether the camera may connect, whether or not it ever did. */
  isRegistered(camera: string): boolean;
  /** Whether something was ever said in the channel. */
  hasChannel(channel: string): boolean;
}

/**
 * Why nobody can broadcast to the channel; undefined when they can. Every channel takes a place in the journal, so a
 * broadcast makes none: else 50,000 names would take the places of cameras.
 */
export function broadcastProblem(channel: string, known: KnownChannels): string | undefined {
  const name = JSON.stringify(channel);
  if (!channelExists(channel, known.custom)) return `There is no channel ${name}`;
  const camera = cameraOfChannel(channel);
  if (camera === undefined || known.isRegistered(camera) || known.hasChannel(channel)) return undefined;
  return `There is no channel ${name}: no camera ${camera} is registered, and none was ever heard of`;
}
