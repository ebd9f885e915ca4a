/** Whether tests run in their long form: `npm run test:long`. */
export const LONG = process.env.LONG_TESTS !== undefined;

/** Milliseconds. A long form takes as long as the machine needs, so its time limit only ends a hang. */
export const TIMEOUT_MS = LONG ? 7_200_000 : 600_000;

/** Milliseconds, for one wait of a long form on a machine that is busy with other work. */
export const WAIT_MS = LONG ? 600_000 : 60_000;
