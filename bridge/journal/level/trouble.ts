import { StoreUnavailableError } from "../journal.ts";

/** Why the disk does not take a write, in words for an operator. */
export function troubleOf(error: unknown, path: string): string {
  const text = messages(error);
  if (/no space left|ENOSPC|disk full/i.test(text))
    return `the disk that holds ${path} is full: free some space, the journal goes on by itself`;
  if (/quota|EDQUOT/i.test(text))
    return `the quota of the disk that holds ${path} is used up: free some space, the journal goes on by itself`;
  if (/file too large|EFBIG/i.test(text))
    return `a limit on file size keeps the journal from writing in ${path}: raise it (ulimit -f), the journal goes on by itself`;
  if (/read-only|EROFS/i.test(text))
    return `the disk that holds ${path} is read-only: mount it writable, the journal goes on by itself`;
  if (/permission denied|EACCES|EPERM/i.test(text))
    return `${path} may not be written: give this program's user write access, the journal goes on by itself`;
  if (/too many open files|EMFILE|ENFILE/i.test(text))
    return `too many files are open to write in ${path}: raise the limit (ulimit -n), the journal goes on by itself`;
  if (/corruption/i.test(text)) return `${path} is damaged: restart, which repairs what can be (${text})`;
  return `writing in ${path} fails: ${text}`;
}

/** An error's message and those of its causes. */
export function messages(error: unknown): string {
  const texts: string[] = [];
  for (let cause = error; cause instanceof Error && texts.length < 4; cause = cause.cause) texts.push(cause.message);
  return texts.length === 0 ? String(error) : texts.join(": ");
}

export function unavailable(trouble: string, cause?: unknown): StoreUnavailableError {
  return new StoreUnavailableError(trouble, cause === undefined ? undefined : { cause });
}
