import { StoreUnavailableError } from "../errors.ts";
import { diskTrouble } from "./disk-trouble.ts";
import { messagesOf } from "./errors.ts";

/** Why a running journal cannot be written, in words for an operator. */
export function writeTrouble(error: unknown, path: string): string {
  const text = messagesOf(error);
  const trouble = diskTrouble(error, path);
  if (trouble !== undefined) return `${trouble.meaning}: ${trouble.remedy}, the journal goes on by itself`;
  if (/corruption/i.test(text)) return `${path} is damaged: restart, which repairs what can be (${text})`;
  return `writing in ${path} fails: ${text}`;
}

export function unavailable(trouble: string, cause?: unknown): StoreUnavailableError {
  return new StoreUnavailableError(trouble, cause === undefined ? undefined : { cause });
}
