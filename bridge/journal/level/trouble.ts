import { StoreUnavailableError } from "../journal.ts";

/** What a disk says when it does not take a write, what that means, and what to do about it. */
const TROUBLES: readonly [said: RegExp, meaning: (path: string) => string, remedy: string][] = [
  [/no space left|ENOSPC|disk full/i, (path) => `the disk that holds ${path} is full`, "free some space"],
  [/quota|EDQUOT/i, (path) => `the quota of the disk that holds ${path} is used up`, "free some space"],
  [
    /too large|EFBIG/i,
    (path) => `a limit on file size keeps the journal from writing in ${path}`,
    "raise it (ulimit -f)",
  ],
  [/read-only|EROFS/i, (path) => `the disk that holds ${path} is read-only`, "mount it writable"],
  [/permission denied|EACCES|EPERM/i, (path) => `${path} may not be written`, "give this program's user write access"],
  [/too many open files|EMFILE|ENFILE/i, (path) => `too many files are open to write in ${path}`, "raise ulimit -n"],
];

/** Why a running journal cannot be written, in words for an operator. */
export function writeTrouble(error: unknown, path: string): string {
  const text = messages(error);
  const [, meaning, remedy] = TROUBLES.find(([said]) => said.test(text)) ?? [];
  if (meaning !== undefined) return `${meaning(path)}: ${remedy}, the journal goes on by itself`;
  if (/corruption/i.test(text)) return `${path} is damaged: restart, which repairs what can be (${text})`;
  return `writing in ${path} fails: ${text}`;
}

/** Why a journal cannot be opened, in words for an operator. */
export function openTrouble(error: unknown, path: string): string {
  const text = messages(error);
  const [, meaning, remedy] = TROUBLES.find(([said]) => said.test(text)) ?? [];
  return meaning === undefined
    ? `the journal in ${path} cannot be opened: ${text}`
    : `the journal cannot be opened, ${meaning(path)}: ${remedy} and start again`;
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
