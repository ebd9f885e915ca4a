// Without zod, because the client library loads this module.

/** The event on the channel `jobs` by which a user asks processing services for a film. */
export const JOB_REQUEST_EVENT = "job.requested";
