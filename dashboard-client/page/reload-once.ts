const NAME = "skylapse:reloaded-at";
/** The shortest time between two automatic reloads, milliseconds. */
const AT_MOST_EVERY_MS = 60_000;

/** Reloads a page that has failed completely, but not in a loop. */
export function reloadOnce(): void {
  try {
    const last = Number(sessionStorage.getItem(NAME) ?? 0);
    if (Date.now() - last < AT_MOST_EVERY_MS) return;
    sessionStorage.setItem(NAME, String(Date.now()));
  } catch {
    // Do not reload: without storage, a first failure cannot be told from a loop.
    return;
  }
  location.reload();
}
