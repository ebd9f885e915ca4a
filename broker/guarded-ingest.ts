import type { Ingest } from "../platform/publications.ts";
import { StorageUnavailableError } from "./aedes/errors.ts";

/**
 * Ingest that accepts nothing while the broker could not bring it to anybody: what is accepted waits in memory for that.
 * @param unavailableReason why it could not; undefined when it can
 */
export function guardedIngest(ingest: Ingest, unavailableReason: () => string | undefined): Ingest {
  return {
    accept: async (publication) => {
      const why = unavailableReason();
      if (why !== undefined) throw new StorageUnavailableError(why);
      return ingest.accept(publication);
    },
    delivered: (position) => ingest.delivered(position),
  };
}
