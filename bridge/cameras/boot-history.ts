/**
 * The number of boots remembered per camera. It is more than two: devices with the same id alternate, and each may
 * reboot in between.
 */
const MAX_BOOTS = 4;

/**
 * Adds a camera's birth message to its boot history.
 * @param history the camera's last sessions (one per boot), oldest first
 * @returns the new history, and whether the camera returned to an earlier boot. A single device never returns to an
 * earlier boot, so two devices use the same id.
 */
export function addBoot(
  history: readonly string[],
  session: string,
): { history: readonly string[]; isReturn: boolean } {
  const others = history.filter((other) => other !== session);
  return {
    history: [...others, session].slice(-MAX_BOOTS),
    isReturn: history.at(-1) !== session && others.length < history.length,
  };
}
