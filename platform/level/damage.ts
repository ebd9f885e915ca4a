/** Something in a store was damaged: told once, when it is found. */
export interface Damage {
  /** Which store: "journal", "mqtt", "cluster". */
  store: string;
  /** What was found. */
  found: string;
  /** What may be missing because of it, and what to do about that. */
  missing: string;
}

export type OnDamage = (damage: Damage) => void;
