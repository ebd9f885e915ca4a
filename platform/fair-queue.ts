interface Owner {
  running: number;
  readonly waiting: (() => void)[];
}

/** Limits the running tasks of all owners and of each owner. Serves the owners in rotation. */
export class FairQueue {
  readonly #maxRunning: number;
  readonly #maxPerOwner: number;
  /** The owner that was served longest ago comes first. */
  readonly #owners = new Map<string, Owner>();
  #running = 0;

  constructor({ maxRunning, maxPerOwner }: { maxRunning: number; maxPerOwner: number }) {
    this.#maxRunning = maxRunning;
    this.#maxPerOwner = maxPerOwner;
  }

  async run<Result>(name: string, task: () => Promise<Result>): Promise<Result> {
    const owner = this.#ownerOf(name);
    if (this.#running >= this.#maxRunning || owner.running >= this.#maxPerOwner || owner.waiting.length > 0)
      // A task that ends resumes a waiting one.
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
      owner = { running: 0, waiting: [] };
      this.#owners.set(name, owner);
    }
    return owner;
  }

  #begin(owner: Owner): void {
    this.#running++;
    owner.running++;
  }

  #end(name: string, owner: Owner): void {
    this.#running--;
    owner.running--;
    if (owner.running === 0 && owner.waiting.length === 0) this.#owners.delete(name);
    for (const [other, next] of this.#owners) {
      if (next.running >= this.#maxPerOwner) continue;
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
