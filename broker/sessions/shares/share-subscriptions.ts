import { type SharedFilter, sharedFilterOf } from "../../../contract/shares.ts";
import type { FilterOptions } from "../../access/filter-options.ts";

/** A shared subscription of a session. */
export interface Subscription {
  readonly shared: SharedFilter;
  readonly options: FilterOptions;
}

/** The shared subscriptions among the filters of a session. */
export function subscriptionsOf(filters: ReadonlyMap<string, FilterOptions>): Subscription[] {
  return [...filters].flatMap(([filter, options]) => {
    const shared = sharedFilterOf(filter);
    return shared === undefined ? [] : [{ shared, options }];
  });
}
