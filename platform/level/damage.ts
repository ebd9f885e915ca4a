export interface Damage {
  /** The store: "journal", "mqtt" or "cluster". */
  store: string;
  found: string;
  /** What may be missing as a result, and what to do. */
  missing: string;
}

export type OnDamage = (damage: Damage) => void;
