/** Of one camera. Two devices take turns, and each may boot anew in between. */
const BOOTS_REMEMBERED = 4;

/**
 * Takes note of a camera's birth.
 * @param boots the names of its last boots, the newest last
 * @returns them with this one, and whether it came back after another: one device never goes back to an earlier boot, so two
 * take turns under its id
 */
export function afterBirth(boots: readonly string[], session: string): { boots: readonly string[]; cameBack: boolean } {
  const others = boots.filter((boot) => boot !== session);
  return {
    boots: [...others, session].slice(-BOOTS_REMEMBERED),
    cameBack: boots.at(-1) !== session && others.length < boots.length,
  };
}
