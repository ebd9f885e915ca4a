/**
 * Caches what was computed for a topic, so that a topic in use is parsed once and not for every message. The cache has
 * two generations. A topic that is asked for moves to the young generation. A full young generation becomes the old
 * one, and the previous old one is dropped. This costs less than an LRU list and is close enough to one.
 */
export class TopicCache<Value> {
  readonly #compute: (topic: string) => Value;
  readonly #size: number;
  #young = new Map<string, Value>();
  #old = new Map<string, Value>();

  /** @param size topics in one generation; the cache holds at most twice as many */
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
