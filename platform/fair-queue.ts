interface Owner {
  underWay: number;
  /** In the order in which they came. */
  readonly waiting: (() => void)[];
}

/**
 * Lets a bounded number of tasks run at once, and of one owner fewer. What is beyond that waits for its turn: the owners are
 * served in rotation, so that one who asks for much is held back alone.
 */
export class FairQueue {
  readonly #maxUnderWay: number;
  readonly #maxPerOwner: number;
  /** Whoever was served longest ago first. */
  readonly #owners = new Map<string, Owner>();
  #underWay = 0;

  constructor({ maxUnderWay, maxPerOwner }: { maxUnderWay: number; maxPerOwner: number }) {
    this.#maxUnderWay = maxUnderWay;
    this.#maxPerOwner = maxPerOwner;
  }

  async run<Result>(name: string, task: () => Promise<Result>): Promise<Result> {
    const owner = this.#ownerOf(name);
    if (this.#underWay >= this.#maxUnderWay || owner.underWay >= this.#maxPerOwner || owner.waiting.length > 0)
      // Whoever ends a task passes the place on.
      await new Promise<void>((resolve) => owner.waiting.push(resolve));
    else this.#begin(owner);
    try {
      return await task();
    } finally {
      this.#end(name, owner);
    }
  }

  #ownerOf(name: string): Owner {
    let owner = this.#owners.get(name);
    if (owner === undefined) {
      owner = { underWay: 0, waiting: [] };
      this.#owners.set(name, owner);
    }
    return owner;
  }

  #begin(owner: Owner): void {
    this.#underWay++;
    owner.underWay++;
  }

  #end(name: string, owner: Owner): void {
    this.#underWay--;
    owner.underWay--;
    if (owner.underWay === 0 && owner.waiting.length === 0) this.#owners.delete(name);
    for (const [other, next] of this.#owners) {
      if (next.underWay >= this.#maxPerOwner) continue;
      const start = next.waiting.shift();
      if (start === undefined) continue;
      this.#begin(next);
      this.#owners.delete(other);
      this.#owners.set(other, next);
      start();
      return;
    }
  }
}
