import { diskFailure } from "./disk-failure.ts";
import { messagesOf } from "./errors.ts";

/** Explains a failed write to an operator. */
export function writeFailureReason(error: unknown, path: string): string {
  const text = messagesOf(error);
  const failure = diskFailure(error, path);
  if (failure !== undefined) return `${failure.meaning}: ${failure.remedy}, the server retries by itself`;
  if (/corruption/i.test(text))
    return `${path} is damaged: restart the server, which repairs it as far as possible (${text})`;
  return `writing to ${path} fails: ${text}`;
}
