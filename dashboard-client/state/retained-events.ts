import type { DashboardEvent } from "../../contract/socket-messages.ts";

export const MAX_OWNERS = 5000;
/** The most topics of one camera or service. A camera has 10 topics, and those of its alerts. */
export const MAX_TOPICS_PER_OWNER = 128;

interface HeldEvent {
  event: DashboardEvent;
  /** The number of the latest snapshot when the event arrived. */
  round: number;
}

/** The retained events of one owner, by topic. */
export type OwnerEvents = ReadonlyMap<string, HeldEvent>;

interface Retention {
  retained: RetainedEvents;
  /**
   * The topic that was left out because of a limit, with its event: the new topic, or an older topic of the same owner.
   */
  leftOut?: readonly [topic: string, event: DashboardEvent];
}

/**
 * The last event of each retained topic, by owner (a camera or a service). Immutable: a change returns a new object. Each
 * owner has its own limit, so that a camera with a thousand states displaces only its own states.
 */
export class RetainedEvents {
  /** Not a static field: TypeScript 7 would refer to the class before the class has a value, and the module would throw. */
  static empty(): RetainedEvents {
    return new RetainedEvents(new Map());
  }

  /** @param parts events of different owners */
  static merged(parts: readonly RetainedEvents[]): RetainedEvents {
    return new RetainedEvents(new Map(parts.flatMap((part) => [...part.#owners])));
  }

  readonly #owners: ReadonlyMap<string, OwnerEvents>;

  private constructor(owners: ReadonlyMap<string, OwnerEvents>) {
    this.#owners = owners;
  }

  get isEmpty(): boolean {
    return this.#owners.size === 0;
  }

  /** Whether the owner of `topic` has any topic. */
  hasOwner(topic: string): boolean {
    return this.#owners.has(ownerOf(topic));
  }

  /** A change of an owner's events changes the map of this owner, and no other. */
  owners(): IterableIterator<[owner: string, events: OwnerEvents]> {
    return this.#owners.entries();
  }

  /** @param isNeeded whether a topic is shown; such a topic is displaced last */
  with(topic: string, event: DashboardEvent, round: number, isNeeded: (topic: string) => boolean): Retention {
    const owner = ownerOf(topic);
    const before = this.#owners.get(owner);
    if (before === undefined && this.#owners.size >= MAX_OWNERS) return { retained: this, leftOut: [topic, event] };
    const topics = new Map(before);
    // The topic is deleted before it is set, so that the newest topic is the last one in the map.
    topics.delete(topic);
    topics.set(topic, { event, round });
    if (topics.size <= MAX_TOPICS_PER_OWNER) return { retained: this.#put(owner, topics) };
    const displaced = [...topics.keys()].find((one) => !isNeeded(one)) ?? [...topics.keys()][0] ?? topic;
    const displacedEvent = topics.get(displaced)?.event ?? event;
    topics.delete(displaced);
    return { retained: this.#put(owner, topics), leftOut: [displaced, displacedEvent] };
  }

  without(topic: string): RetainedEvents {
    const owner = ownerOf(topic);
    const topics = new Map(this.#owners.get(owner));
    return topics.delete(topic) ? this.#put(owner, topics) : this;
  }

  /** The events that arrived before the snapshot with this number, and were not in the snapshot. */
  olderThan(round: number): [topic: string, event: DashboardEvent][] {
    return [...this.#owners.values()].flatMap((topics) =>
      [...topics]
        .filter(([, held]) => held.round < round)
        .map(([topic, { event }]) => [topic, event] as [string, DashboardEvent]),
    );
  }

  #put(owner: string, topics: OwnerEvents): RetainedEvents {
    const owners = new Map(this.#owners);
    if (topics.size === 0) owners.delete(owner);
    else owners.set(owner, topics);
    return new RetainedEvents(owners);
  }
}

/** For example `cameras/north` for the topic `cameras/north/state/power`. */
function ownerOf(topic: string): string {
  return topic.split("/", 2).join("/");
}
