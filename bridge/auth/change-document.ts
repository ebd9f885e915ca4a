import { StoreUnavailableError } from "../../platform/errors.ts";
import type { Documents, Json, StoredDocument } from "../cluster/cluster.ts";

/** Others may change the same document at the same moment; each failure is another's success. */
const MAX_ATTEMPTS = 10;

/**
 * Changes a document by what it is now, so that two nodes at one moment do not undo each other's change.
 * @param decide called again when another was faster; what it throws ends the change
 * @param expiresAt of the new document, milliseconds since 1970
 * @throws {StoreUnavailableError}
 */
export async function changeDocument(
  documents: Pick<Documents, "get" | "put">,
  { collection, key }: { collection: string; key: string },
  decide: (
    before: StoredDocument | undefined,
  ) => { value: Json; expiresAt?: number } | Promise<{ value: Json; expiresAt?: number }>,
): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const before = await documents.get(collection, key);
    const { value, ...options } = await decide(before);
    const version = await documents.put(collection, key, value, { ifVersion: before?.version ?? null, ...options });
    if (version !== undefined) return;
  }
  throw new StoreUnavailableError("somebody else is changing the same all the time: try again");
}
