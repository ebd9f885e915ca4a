/** Boots remembered per camera: more than two, because devices that share an id alternate and may reboot. */
const MAX_BOOTS = 4;

/**
 * Adds a birth message to a camera's history of sessions (one per boot), oldest first. `isReturn`: the camera returned
 * to an earlier boot. A single device never does that, so two devices use the same id.
 */
export function addBoot(history: readonly string[], session: string) {
  const others = history.filter((other) => other !== session);
  return {
    history: [...others, session].slice(-MAX_BOOTS),
    isReturn: history.at(-1) !== session && others.length < history.length,
  };
}
