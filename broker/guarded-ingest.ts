import { StorageUnavailableError } from "./aedes/errors.ts";
import type { Ingest } from "./ingest-gate.ts";

/**
 * Ingest that accepts nothing while the broker could not bring it to anybody: what is accepted waits in memory for that.
 * @param trouble why it could not; undefined when it can
 */
export function guardedIngest(ingest: Ingest, trouble: () => string | undefined): Ingest {
  return {
    accept: async (publication) => {
      const why = trouble();
      if (why !== undefined) throw new StorageUnavailableError(why);
      return ingest.accept(publication);
    },
    emitted: (position) => ingest.emitted(position),
  };
}
