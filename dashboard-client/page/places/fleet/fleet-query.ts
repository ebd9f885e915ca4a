export const FILTERS = [
  ...["attention", "offline", "stale", "unknown", "gap", "never_seen", "sleeping", "online"],
] as const satisfies readonly FleetFilter[];
export type FleetFilter = "attention" | "offline" | "stale" | "unknown" | "gap" | "never_seen" | "sleeping" | "online";

export const SORTS = ["attention", "name", "battery", "storage", "picture"] as const;
export type FleetSort = (typeof SORTS)[number];

export const VIEWS = ["grid", "list"] as const;
export type FleetView = (typeof VIEWS)[number];

/** What the address asks for: `#/?q=north&state=offline&group=alps&tag=winter&sort=battery&view=list`. */
export interface FleetQuery {
  /** Words that the name, id, tags or groups of a camera contain. */
  q: string;
  state: FleetFilter | undefined;
  /** The id of a group. */
  group: string;
  tag: string;
  sort: FleetSort;
  /** Undefined: as fits the window and the number of cameras. */
  view: FleetView | undefined;
}

export function readQuery(search: string): FleetQuery {
  const params = new URLSearchParams(search);
  return {
    q: params.get("q") ?? "",
    state: oneOf(FILTERS, params.get("state")),
    group: params.get("group") ?? "",
    tag: params.get("tag") ?? "",
    sort: oneOf(SORTS, params.get("sort")) ?? "attention",
    view: oneOf(VIEWS, params.get("view")),
  };
}

/** The address of a query, without what is the default. */
export function addressOf({ q, state, group, tag, sort, view }: FleetQuery): string {
  const params = new URLSearchParams();
  const given = { q, state, group, tag, sort: sort === "attention" ? undefined : sort, view };
  for (const [name, value = ""] of Object.entries(given)) if (value !== "") params.set(name, value);
  const search = params.toString();
  return search === "" ? "/" : `/?${search}`;
}

export function isFiltered({ q, state, group, tag }: FleetQuery): boolean {
  return q.trim() !== "" || state !== undefined || group !== "" || tag !== "";
}

function oneOf<Value extends string>(values: readonly Value[], text: string | null): Value | undefined {
  return values.find((value) => value === text);
}
