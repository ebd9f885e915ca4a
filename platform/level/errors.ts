/** A store cannot be opened. The message says what to do. */
export class StoreUnusableError extends Error {
  override name = "StoreUnusableError";
}

/** The messages of an error and of its causes. */
export function messagesOf(error: unknown): string {
  const texts: string[] = [];
  for (let cause = error; cause instanceof Error && texts.length < 4; cause = cause.cause) texts.push(cause.message);
  return texts.length === 0 ? String(error) : texts.join(": ");
}

/** Whether another process has the store open. */
export function isLocked(error: unknown): boolean {
  return codesOf(error).includes("LEVEL_LOCKED");
}

/** Whether the store is damaged: a repair may help. */
export function isDamage(error: unknown): boolean {
  if (isLocked(error)) return false;
  const isText = /corruption|no such file|does not exist|not an sstable/i.test(messagesOf(error));
  return isText || codesOf(error).includes("LEVEL_CORRUPTION");
}

function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ("code" in cause && typeof cause.code === "string") codes.push(cause.code);
  return codes;
}
