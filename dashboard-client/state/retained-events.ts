import type { DashboardEvent } from "../../contract/socket-messages.ts";

/** Cameras and services whose state is held. */
export const MAX_OWNERS = 5000;
/** Topics of one camera or service that are held: a camera of this system has 10, and its alerts. */
export const MAX_TOPICS_PER_OWNER = 128;

interface HeldEvent {
  event: DashboardEvent;
  /** The snapshot that it came with, or after: what is older when a snapshot ends is gone. */
  round: number;
}

/** What is held after a change, and what found no room. */
export interface Holding {
  retained: RetainedEvents;
  /** The topic and event that had to go, the one at hand or an older one of the same owner. */
  leftOut?: readonly [topic: string, event: DashboardEvent];
}

/**
 * The last event of each retained topic, by owner. A value that changes into a new one, never in place. Each owner has
 * room of its own: a camera with a thousand states pushes out its own, and no other camera.
 */
export class RetainedEvents {
  static readonly EMPTY = new RetainedEvents(new Map());
  readonly #owners: ReadonlyMap<string, ReadonlyMap<string, HeldEvent>>;

  private constructor(owners: ReadonlyMap<string, ReadonlyMap<string, HeldEvent>>) {
    this.#owners = owners;
  }

  get isEmpty(): boolean {
    return this.#owners.size === 0;
  }

  /** Whether anything of the camera or service is held. */
  hasOwner(topic: string): boolean {
    return this.#owners.has(ownerOf(topic));
  }

  *entries(): IterableIterator<[topic: string, event: DashboardEvent]> {
    for (const topics of this.#owners.values()) for (const [topic, { event }] of topics) yield [topic, event];
  }

  /** @param isNeeded whether a topic is shown somewhere: such a one does not go while there are others */
  with(topic: string, event: DashboardEvent, round: number, isNeeded: (topic: string) => boolean): Holding {
    const owner = ownerOf(topic);
    const before = this.#owners.get(owner);
    if (before === undefined && this.#owners.size >= MAX_OWNERS) return { retained: this, leftOut: [topic, event] };
    const topics = new Map(before);
    // The newest stands last.
    topics.delete(topic);
    topics.set(topic, { event, round });
    if (topics.size <= MAX_TOPICS_PER_OWNER) return { retained: this.#put(owner, topics) };
    const goes = [...topics.keys()].find((one) => !isNeeded(one)) ?? [...topics.keys()][0] ?? topic;
    const gone = topics.get(goes)?.event ?? event;
    topics.delete(goes);
    return { retained: this.#put(owner, topics), leftOut: [goes, gone] };
  }

  without(topic: string): RetainedEvents {
    const owner = ownerOf(topic);
    const topics = new Map(this.#owners.get(owner));
    return topics.delete(topic) ? this.#put(owner, topics) : this;
  }

  /** What came before the snapshot of that number and was not in it. */
  olderThan(round: number): [topic: string, event: DashboardEvent][] {
    return [...this.#owners.values()].flatMap((topics) =>
      [...topics]
        .filter(([, held]) => held.round < round)
        .map(([topic, { event }]) => [topic, event] as [string, DashboardEvent]),
    );
  }

  #put(owner: string, topics: ReadonlyMap<string, HeldEvent>): RetainedEvents {
    const owners = new Map(this.#owners);
    if (topics.size === 0) owners.delete(owner);
    else owners.set(owner, topics);
    return new RetainedEvents(owners);
  }
}

/** `cameras/north` of `cameras/north/state/power`. */
function ownerOf(topic: string): string {
  return topic.split("/", 2).join("/");
}
