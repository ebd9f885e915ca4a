import { deleteCachedState } from "../../state/state-storage.ts";
import { deletePictures } from "./picture-cache.ts";

/** Deletes the state and the pictures that this browser keeps of the user. For a sign-out. Never rejects. */
export async function deleteKeptData(): Promise<void> {
  await Promise.allSettled([deleteCachedState(), deletePictures()]);
}
