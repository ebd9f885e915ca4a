import { deleteCachedState } from "../../state/state-storage.ts";
import { PICTURE_CACHE } from "./picture-cache.ts";

/** Deletes the state and the pictures that this browser keeps of the user. For a sign-out. Never rejects. */
export async function deleteKeptData(): Promise<void> {
  await Promise.allSettled([deleteCachedState(), deletePictures()]);
}

async function deletePictures(): Promise<void> {
  // Browsers have `caches` only with https, and on localhost.
  if ("caches" in globalThis) await caches.delete(PICTURE_CACHE);
}
