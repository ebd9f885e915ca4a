import { filterMatches } from "../../contract/topics.ts";
import type { LoggedPublication } from "../../platform/publication-log.ts";
import { type FilterOptions, haveSameOptions } from "../access/filter-options.ts";

interface Filter extends FilterOptions {
  /** Publications up to this position are not for the filter, which was subscribed later. */
  readonly since: number;
}

const NO_LOCAL = 1;
const RETAIN_AS_PUBLISHED = 2;

/** As it is stored. The flags and the subscription identifier are left out when they have their default. */
export type StoredFilter = [
  ...[filter: string, qos: 0 | 1 | 2, since: number],
  ...[flags?: number | undefined, identifier?: number | undefined],
];

/** What decides whether a publication is for a session. */
type Candidate = Pick<LoggedPublication, "topic" | "position" | "qos" | "publisher">;

/** The filters of a session. */
export class SessionFilters {
  readonly #key: string;
  readonly #all = new Map<string, Filter>();
  /** Whether deliveries have more than a QoS: most sessions have no such filter. */
  #hasOptions = false;

  /**
   * @param key the session's key: the publisher of its client's publications
   * @param edge the positions of an older copy of the log may be above those of the log
   */
  constructor(key: string, stored: readonly StoredFilter[], edge: number) {
    this.#key = key;
    for (const [filter, qos, since, flags = 0, identifier] of stored)
      this.#all.set(filter, { ...optionsOf(qos, flags, identifier), since: Math.min(since, edge) });
    this.#noteOptions();
  }

  get all(): ReadonlyMap<string, Filter> {
    return this.#all;
  }

  /** @param edge publications above this position are for the filter @returns false when nothing changes */
  add(filter: string, options: FilterOptions, edge: number): boolean {
    const known = this.#all.get(filter);
    if (known !== undefined && haveSameOptions(known, options)) return false;
    const { qos, noLocal, retainAsPublished, identifier } = options;
    const since = known !== undefined && known.qos > 0 ? known.since : edge;
    this.#all.set(filter, { qos, noLocal, retainAsPublished, identifier, since });
    this.#noteOptions();
    return true;
  }

  /** @returns false when the session has no such filter */
  delete(filter: string): boolean {
    const isDeleted = this.#all.delete(filter);
    if (isDeleted) this.#noteOptions();
    return isDeleted;
  }

  /** The QoS of the session's delivery of the publication; 0 when the session does not get the publication. */
  qosOf(publication: Candidate): 0 | 1 | 2 {
    let granted: 0 | 1 | 2 = 0;
    for (const [filter, one] of this.#all)
      if (one.qos > granted && this.#selects(filter, one, publication)) granted = one.qos;
    return granted < publication.qos ? granted : publication.qos;
  }

  /** Whether the session's client has published this, and has a filter that does not want such publications. */
  mayBeLocal({ publisher }: Candidate): boolean {
    return this.#hasOptions && publisher === this.#key;
  }

  /** Whether the delivery of the publication has the RETAIN flag. */
  retains(publication: Candidate & Pick<LoggedPublication, "retain">): boolean {
    if (!this.#hasOptions || !publication.retain) return false;
    for (const [filter, one] of this.#all)
      if (one.retainAsPublished === true && this.#selects(filter, one, publication)) return true;
    return false;
  }

  /** The identifiers of all filters that select the publication [MQTT-3.3.4-4]. Undefined: none. */
  identifiersOf(publication: Candidate): readonly number[] | undefined {
    if (!this.#hasOptions) return undefined;
    let identifiers: number[] | undefined;
    for (const [filter, one] of this.#all) {
      if (one.identifier === undefined || !this.#selects(filter, one, publication)) continue;
      identifiers ??= [];
      identifiers.push(one.identifier);
    }
    return identifiers;
  }

  record(): StoredFilter[] {
    return [...this.#all].map(storedFilter);
  }

  #selects(filter: string, { since, noLocal }: Filter, { topic, position, publisher }: Candidate): boolean {
    if (since >= position || (noLocal === true && publisher === this.#key)) return false;
    return filterMatches(filter, topic);
  }

  #noteOptions(): void {
    this.#hasOptions = false;
    for (const one of this.#all.values()) if (hasOptions(one)) this.#hasOptions = true;
  }
}

function hasOptions({ noLocal, retainAsPublished, identifier }: FilterOptions): boolean {
  return noLocal === true || retainAsPublished === true || identifier !== undefined;
}

function optionsOf(qos: 0 | 1 | 2, flags: number, identifier: number | undefined): FilterOptions {
  if (flags === 0 && identifier === undefined) return { qos };
  return {
    ...{ qos, identifier },
    noLocal: (flags & NO_LOCAL) !== 0,
    retainAsPublished: (flags & RETAIN_AS_PUBLISHED) !== 0,
  };
}

function storedFilter([filter, one]: [string, Filter]): StoredFilter {
  const { qos, since, noLocal, retainAsPublished, identifier } = one;
  if (!hasOptions(one)) return [filter, qos, since];
  const flags = (noLocal === true ? NO_LOCAL : 0) | (retainAsPublished === true ? RETAIN_AS_PUBLISHED : 0);
  return identifier === undefined ? [filter, qos, since, flags] : [filter, qos, since, flags, identifier];
}
