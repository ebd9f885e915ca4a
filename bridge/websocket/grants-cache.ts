import type { Grants } from "../../contract/permissions.ts";

const MAX_CACHED_GRANTS = 1_000;

type GrantsOf = (permissions: readonly string[]) => Grants;

/** Lets sessions with equal permissions share their grants. */
export function cacheGrants(grantsOf: GrantsOf): GrantsOf {
  const cache = new Map<string, Grants>();
  return (permissions) => {
    // JSON, so that different sets have different keys: a permission may contain any character.
    const key = JSON.stringify(permissions.toSorted());
    let grants = cache.get(key);
    if (grants === undefined) {
      if (cache.size >= MAX_CACHED_GRANTS) cache.clear();
      grants = grantsOf(permissions);
      cache.set(key, grants);
    }
    return grants;
  };
}
