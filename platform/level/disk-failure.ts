import { messagesOf } from "./errors.ts";

/** What a disk says when it does not do what it is asked, what that means, and what to do about it. */
const DISK_TROUBLES: readonly [said: RegExp, meaning: (path: string) => string, remedy: string][] = [
  [/no space left|ENOSPC|disk full/i, (path) => `the disk that holds ${path} is full`, "free some space"],
  [/quota|EDQUOT/i, (path) => `the quota of the disk that holds ${path} is used up`, "free some space"],
  [
    /too large|EFBIG/i,
    (path) => `a limit on file size keeps this program from writing in ${path}`,
    "raise it (ulimit -f)",
  ],
  [/read-only|EROFS/i, (path) => `the disk that holds ${path} is read-only`, "mount it writable"],
  [/permission denied|EACCES|EPERM/i, (path) => `${path} may not be written`, "give this program's user write access"],
  [/too many open files|EMFILE|ENFILE/i, (path) => `too many files are open to write in ${path}`, "raise ulimit -n"],
];

/** What a disk means that says so, and what to do about it; undefined for what no disk says. */
export function diskFailureReason(error: unknown, path: string): { meaning: string; remedy: string } | undefined {
  const text = messagesOf(error);
  const [, meaning, remedy] = DISK_TROUBLES.find(([said]) => said.test(text)) ?? [];
  return meaning === undefined || remedy === undefined ? undefined : { meaning: meaning(path), remedy };
}
