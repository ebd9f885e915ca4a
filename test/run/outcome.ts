/** The result of a run of tests. */
export interface Outcome {
  passed: number;
  /** Failed tests, files that cannot be loaded, and errors outside a test. */
  failed: number;
  skipped: number;
  failedFiles: readonly FailedFile[];
  /** Errors outside all tests. No file is to blame. */
  otherErrors: number;
}

export interface FailedFile {
  /** Relative to the project's folder. */
  file: string;
  /** How many of its tests passed. */
  passed: number;
  skipped: number;
  /** The first line of the first error. */
  error: string;
}

/** With more failed files than this, the code is broken, and not the machine busy. */
const MAX_SECOND_TRIES = 8;

export function isWorthASecondTry({ failedFiles, otherErrors }: Outcome): boolean {
  return otherErrors === 0 && failedFiles.length > 0 && failedFiles.length <= MAX_SECOND_TRIES;
}

/**
 * The end of the output. Its last line is for other programs: `N passed, N failed`.
 * @param second of the files that failed first
 */
export function closingLines(first: Outcome, second?: Outcome): string {
  const again = first.failedFiles;
  const sumOf = (name: "passed" | "skipped") =>
    second === undefined ? first[name] : first[name] - again.reduce((sum, file) => sum + file[name], 0) + second[name];
  const lines = again
    .filter(({ file }) => second?.failedFiles.every((other) => other.file !== file))
    .map(({ file, error }) => `passed only at the second try: ${file} (first: ${error})`);
  const skipped = sumOf("skipped");
  const { failed } = second ?? first;
  return [...lines, `${sumOf("passed")} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`].join(
    "\n",
  );
}
