/** The undelivered publications of one write. */
export interface OutboxGroup {
  /** The position of the group's newest publication, or a later one before the next write's first position. */
  readonly last: number;
  readonly size: number;
  /** The positions that are not delivered yet. */
  readonly pending: Set<number>;
  /** The number of pending positions in the store. */
  storedPending: number;
}

/** The writes with publications that the MQTT subscribers have not received. */
export class OutboxGroups<Group extends OutboxGroup> {
  readonly #maxGroups: number;
  /** The groups of this run, in order of position. Those before `#start` are delivered or given up. */
  #groups: Group[] = [];
  #start = 0;
  /** Groups that were read from the store, by pending position. */
  readonly #stored = new Map<number, Group>();

  constructor(maxGroups: number) {
    this.#maxGroups = maxGroups;
  }

  /** Adds the newest write of this run. @returns false when the oldest write was given up to make room */
  add(group: Group): boolean {
    this.#groups.push(group);
    while (this.#start < this.#groups.length && this.#groups[this.#start]?.pending.size === 0) this.#start++;
    const hasRoom = this.#groups.length - this.#start <= this.#maxGroups;
    if (!hasRoom) this.#start++;
    if (this.#start * 2 > this.#groups.length) {
      this.#groups = this.#groups.slice(this.#start);
      this.#start = 0;
    }
    return hasRoom;
  }

  addStored(group: Group): void {
    for (const position of group.pending) this.#stored.set(position, group);
  }

  /** Notes a delivery. @returns the group of the publication; undefined when it was not pending */
  delivered(position: number): Group | undefined {
    const group = this.#stored.get(position) ?? this.#groupOf(position);
    if (group?.pending.delete(position) !== true) return undefined;
    this.#stored.delete(position);
    return group;
  }

  /** The groups of this run that may have pending publications. */
  current(): Group[] {
    return this.#groups.slice(this.#start);
  }

  clear(): void {
    this.#groups = [];
    this.#start = 0;
    this.#stored.clear();
  }

  #groupOf(position: number): Group | undefined {
    let low = this.#start;
    let high = this.#groups.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#groups[middle]?.last ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return this.#groups[low];
  }
}
