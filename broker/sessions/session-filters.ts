import { filterMatches } from "../../contract/topics.ts";
import type { LoggedPublication } from "../../platform/publication-log.ts";

interface Filter {
  readonly qos: 0 | 1 | 2;
  /** Publications up to this position are not for the filter, which was subscribed later. */
  readonly since: number;
}

/** As it is stored. */
export type StoredFilter = [filter: string, qos: 0 | 1 | 2, since: number];

/** The filters of a session. */
export class SessionFilters {
  readonly all = new Map<string, Filter>();

  /** @param edge the positions of an older copy of the log may be above those of the log */
  constructor(stored: readonly StoredFilter[], edge: number) {
    for (const [filter, qos, since] of stored) this.all.set(filter, { qos, since: Math.min(since, edge) });
  }

  /** @param edge publications above this position are for the filter @returns false when nothing changes */
  add(filter: string, qos: 0 | 1 | 2, edge: number): boolean {
    const known = this.all.get(filter);
    if (known?.qos === qos) return false;
    this.all.set(filter, { qos, since: known !== undefined && known.qos > 0 ? known.since : edge });
    return true;
  }

  /** The QoS of the session's delivery of the publication; 0 when the session does not get the publication. */
  qosOf({ topic, position, qos }: Pick<LoggedPublication, "topic" | "position" | "qos">): 0 | 1 | 2 {
    let granted: 0 | 1 | 2 = 0;
    for (const [filter, one] of this.all) {
      if (one.qos > granted && one.since < position && filterMatches(filter, topic)) granted = one.qos;
    }
    return granted < qos ? granted : qos;
  }

  record(): StoredFilter[] {
    return [...this.all].map(([filter, { qos, since }]) => [filter, qos, since]);
  }
}
