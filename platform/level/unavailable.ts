import { StoreUnavailableError } from "../errors.ts";
import { diskFailureReason } from "./disk-failure.ts";
import { messagesOf } from "./errors.ts";

/** Why a running journal cannot be written, in words for an operator. */
export function writeFailureReason(error: unknown, path: string): string {
  const text = messagesOf(error);
  const unavailableReason = diskFailureReason(error, path);
  if (unavailableReason !== undefined)
    return `${unavailableReason.meaning}: ${unavailableReason.remedy}, the journal goes on by itself`;
  if (/corruption/i.test(text)) return `${path} is damaged: restart, which repairs what can be (${text})`;
  return `writing in ${path} fails: ${text}`;
}

export function unavailable(unavailableReason: string, cause?: unknown): StoreUnavailableError {
  return new StoreUnavailableError(unavailableReason, cause === undefined ? undefined : { cause });
}
