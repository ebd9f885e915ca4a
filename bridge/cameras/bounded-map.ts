/** A map with a maximum size. */
export class BoundedMap<Value> extends Map<string, Value> {
  readonly #maxSize: number;

  constructor(maxSize: number) {
    super();
    this.#maxSize = maxSize;
  }

  /** @returns undefined when there is no such key and the map is full */
  getOrCreate(key: string, create: () => Value): Value | undefined {
    const known = this.get(key);
    if (known !== undefined || this.size >= this.#maxSize) return known;
    const value = create();
    this.set(key, value);
    return value;
  }
}
