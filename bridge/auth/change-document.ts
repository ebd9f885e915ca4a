import { StoreUnavailableError } from "../../platform/errors.ts";
import type { Documents, Json, StoredDocument } from "../cluster/cluster.ts";

/** Each failed attempt means that another request has changed the same document. */
const MAX_ATTEMPTS = 10;

/**
 * Changes a document based on its current value, so that two nodes do not undo each other's changes.
 * @param decide returns the new value, and its expiry in milliseconds since 1970; undefined deletes the document. Called
 * again when another request was faster. An error thrown by `decide` cancels the change.
 * @throws {StoreUnavailableError}
 */
export async function changeDocument(
  documents: Pick<Documents, "get" | "put" | "delete">,
  { collection, key }: { collection: string; key: string },
  decide: (before: StoredDocument | undefined) => { value: Json; expiresAt?: number } | undefined,
): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const before = await documents.get(collection, key);
    const after = decide(before);
    if (after === undefined) {
      if (before === undefined || (await documents.delete(collection, key, { ifVersion: before.version }))) return;
      continue;
    }
    const { value, ...options } = after;
    const version = await documents.put(collection, key, value, { ifVersion: before?.version ?? null, ...options });
    if (version !== undefined) return;
  }
  throw new StoreUnavailableError("other requests keep changing the same document: try again");
}
