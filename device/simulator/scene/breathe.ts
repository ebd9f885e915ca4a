/**
 * Lets everybody else have the thread between two bands of a picture.
 * @throws the signal's reason when the picture is not wanted any more
 */
export async function breathe(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal.throwIfAborted();
}
