/**
 * Remembers what was found out about topics, so that the few that are in use are taken apart once and not at every message.
 * Bounded by two generations: what is asked for in the younger stays; when that is full it becomes the older, and what
 * was not asked for since is forgotten. Cheaper than reordering a list at every question, and as close to it as needed.
 */
export class TopicCache<Decision> {
  readonly #decide: (topic: string) => Decision;
  readonly #size: number;
  #young = new Map<string, Decision>();
  #old = new Map<string, Decision>();

  /** @param size topics in a generation; at most twice as many are remembered */
  constructor(decide: (topic: string) => Decision, size: number) {
    this.#decide = decide;
    this.#size = size;
  }

  of(topic: string): Decision {
    const known = this.#young.get(topic);
    if (known !== undefined) return known;
    const decision = this.#old.get(topic) ?? this.#decide(topic);
    if (this.#young.size >= this.#size) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(topic, decision);
    return decision;
  }
}
