import type { Since } from "../../../contract/socket-messages.ts";
import { isChannelName } from "../../../contract/topics.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { Recovery } from "../journal.ts";

/** The channel of entries without a channel. It has the same retention as other channels, but no reader. */
export const NO_CHANNEL = "";

/** @throws {RangeError} an invalid name @throws {StoreUnavailableError} the table is full */
export function assertCanAddChannel(name: string, channelCount: number, maxChannels: number): void {
  if (!isChannelName(name))
    throw new RangeError(`"${name}" is not a channel name: 1 to 63 of a-z, 0-9 and '-', as in camera:north`);
  if (channelCount >= maxChannels)
    throw new StoreUnavailableError(`the journal already has ${maxChannels} channels and cannot add ${name}`);
}

/** @param floor the highest position that retention removed from the channel */
export function recoveryOf(floor: number, since: Since, { epoch, head }: { epoch: string; head: number }): Recovery {
  if (since.epoch !== epoch) return { complete: false, reason: "epoch_changed", gap: { after: 0, before: floor + 1 } };
  if (since.position > head) return { complete: false, reason: "ahead", gap: { after: head, before: head + 1 } };
  if (since.position < floor)
    return { complete: false, reason: "trimmed", gap: { after: since.position, before: floor + 1 } };
  return { complete: true };
}
