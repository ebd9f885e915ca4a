/**
 * Caches what was computed for a topic, in two generations: a used topic moves to the young generation, and a full
 * young generation replaces the old one. This approximates an LRU list at a lower cost.
 */
export class TopicCache<Value> {
  readonly #compute: (topic: string) => Value;
  readonly #size: number;
  #young = new Map<string, Value>();
  #old = new Map<string, Value>();

  /** @param size topics in one generation */
  constructor(compute: (topic: string) => Value, size: number) {
    this.#compute = compute;
    this.#size = size;
  }

  of(topic: string): Value {
    const known = this.#young.get(topic);
    if (known !== undefined) return known;
    const value = this.#old.get(topic) ?? this.#compute(topic);
    if (this.#young.size >= this.#size) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(topic, value);
    return value;
  }
}
