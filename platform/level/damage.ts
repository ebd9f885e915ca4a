/** Damage found in a store. Each damage is reported once, when it is found. */
export interface Damage {
  /** The store: "journal", "mqtt" or "cluster". */
  store: string;
  /** What was found. */
  found: string;
  /** What may be missing as a result, and what to do. */
  missing: string;
}

export type OnDamage = (damage: Damage) => void;
