import type { Kysely } from "kysely";
import { PERIOD_MS, type Tables } from "./tables.ts";

export interface Places {
  first: number;
  last: number;
}

/**
 * The places between which the events of a time are, and some neighbours. Undefined if no event was accepted in the time.
 * @param from the times of acceptance, milliseconds since 1970, both inclusive. Undefined: no bound
 */
export async function placesBetween(
  db: Kysely<Tables>,
  from: number | undefined,
  to: number | undefined,
): Promise<Places | undefined> {
  let periods = db
    .selectFrom("archive_periods")
    .select(({ fn }) => [fn.min("first_id").as("first"), fn.max("last_id").as("last")]);
  if (from !== undefined) periods = periods.where("period", ">=", Math.floor(from / PERIOD_MS));
  if (to !== undefined) periods = periods.where("period", "<=", Math.floor(to / PERIOD_MS));
  const found = await periods.executeTakeFirst();
  return found?.first == null || found.last == null ? undefined : { first: found.first, last: found.last };
}
