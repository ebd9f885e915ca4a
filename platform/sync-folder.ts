import { open } from "node:fs/promises";

/** A file that was made, or renamed into place, is durable when its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
