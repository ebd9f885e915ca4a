import { messagesOf } from "./errors.ts";

const RAISE_FILE_LIMIT = "raise it (ulimit -f)";

/** Errors of disks, each with its meaning and the remedy. */
const DISK_FAILURES: readonly [message: RegExp, meaning: (path: string) => string, remedy: string][] = [
  [/no space left|ENOSPC|disk full/i, (path) => `the disk that holds ${path} is full`, "free some space"],
  [/quota|EDQUOT/i, (path) => `the quota of the disk that holds ${path} is used up`, "free some space"],
  [/too large|EFBIG/i, (path) => `a limit on file size keeps this program from writing in ${path}`, RAISE_FILE_LIMIT],
  [/read-only|EROFS/i, (path) => `the disk that holds ${path} is read-only`, "mount it writable"],
  [/permission denied|EACCES|EPERM/i, (path) => `${path} is not writable`, "give this program's user write access"],
  [/too many open files|EMFILE|ENFILE/i, (path) => `too many files are open to write in ${path}`, "raise ulimit -n"],
];

/** Explains an error of the disk that holds `path`; undefined for other errors. */
export function diskFailure(error: unknown, path: string): { meaning: string; remedy: string } | undefined {
  const text = messagesOf(error);
  const [, meaning, remedy] = DISK_FAILURES.find(([message]) => message.test(text)) ?? [];
  return meaning === undefined || remedy === undefined ? undefined : { meaning: meaning(path), remedy };
}
