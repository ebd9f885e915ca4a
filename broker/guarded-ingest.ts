import type { Ingest } from "../platform/publications.ts";
import { StorageUnavailableError } from "./cluster/redis-connection.ts";

/**
 * Ingest that accepts nothing while the broker cannot forward: accepted publications would accumulate in memory.
 * @param unavailableReason why the broker cannot forward; undefined when it can
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
