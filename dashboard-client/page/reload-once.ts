const NAME = "skylapse:reloaded-at";
/** A page that fails again this soon after a reload is not reloaded again by itself, milliseconds. */
const AT_MOST_EVERY_MS = 60_000;

/** Reloads the page when all of it has failed, but not in a loop. */
export function reloadOnce(): void {
  try {
    const last = Number(sessionStorage.getItem(NAME) ?? 0);
    if (Date.now() - last < AT_MOST_EVERY_MS) return;
    sessionStorage.setItem(NAME, String(Date.now()));
  } catch {
    // Without a memory a loop could not be told from a first failure.
    return;
  }
  location.reload();
}
