import {
  checked,
  type Guard,
  isFlag,
  isTimestamp,
  list,
  number,
  object,
  optional,
  text,
} from "../../../../contract/guards.ts";

const MAX_LISTED = 10_000;
const isCount = number(0);

/** The shape of a value that a guard accepts. */
type Guarded<G> = G extends Guard<infer Value> ? Value : never;

interface Percentiles {
  p50: number;
  p99: number;
}
const isPercentiles = object<Percentiles>({ p50: number(), p99: number() });

export interface Connection {
  connection_id: string;
  user_id: string;
  connected_at: string;
  ip_address: string;
  node?: string | undefined;
}
const isConnection = object<Connection>({
  ...{ connection_id: text(), user_id: text(), connected_at: isTimestamp, ip_address: text() },
  node: optional(text()),
});

export interface NodeInfo {
  id: string;
  name: string;
  started_at: string;
  last_seen_at: string;
  connections: number;
}

interface Occurrence {
  name: string;
  times: number;
  last_seen: string;
}
const isOccurrences = list(object<Occurrence>({ name: text(), times: isCount, last_seen: isTimestamp }), MAX_LISTED);

const isLatencies = object<{
  camera_to_server?: Percentiles;
  append?: Percentiles;
  journal_to_socket?: Percentiles;
}>({
  camera_to_server: optional(isPercentiles),
  append: optional(isPercentiles),
  journal_to_socket: optional(isPercentiles),
});

/** The part of `GET /stats` that the place shows. */
const isNode = object<{
  id: string;
  uptime_seconds: number;
  memory_bytes: number;
  event_loop_delay_ms: Percentiles;
  /** A node of an earlier version does not measure it. */
  latency_ms?: Guarded<typeof isLatencies>;
  last_backup_at?: string;
  journal: { epoch: string; head: number; lost: number; trouble?: string };
  sockets: { lagging: number; fanOut: { deliveries: number; bytes: number } };
  archive: { state: string; behind?: number; trouble?: string };
  ingest: { accepted: number; refused: number };
  broker?: { clients: number; sessions: number };
  outside_broker?: { broker: string; connected: boolean; reason?: string };
  access: { untrusted_proxies: Occurrence[]; refused_origins: Occurrence[] };
}>({
  ...{ id: text(), uptime_seconds: isCount, memory_bytes: isCount, event_loop_delay_ms: isPercentiles },
  latency_ms: optional(isLatencies),
  last_backup_at: optional(isTimestamp),
  journal: object<{ epoch: string; head: number; lost: number; trouble?: string }>({
    ...{ epoch: text(), head: isCount, lost: isCount, trouble: optional(text()) },
  }),
  sockets: object<{ lagging: number; fanOut: { deliveries: number; bytes: number } }>({
    lagging: isCount,
    fanOut: object<{ deliveries: number; bytes: number }>({ deliveries: isCount, bytes: isCount }),
  }),
  archive: object<{ state: string; behind?: number; trouble?: string }>({
    ...{ state: text(), behind: optional(number()), trouble: optional(text()) },
  }),
  ingest: object<{ accepted: number; refused: number }>({ accepted: isCount, refused: isCount }),
  broker: optional(object<{ clients: number; sessions: number }>({ clients: isCount, sessions: isCount })),
  outside_broker: optional(
    object<{ broker: string; connected: boolean; reason?: string }>({
      ...{ broker: text(), connected: isFlag, reason: optional(text()) },
    }),
  ),
  access: object<{ untrusted_proxies: Occurrence[]; refused_origins: Occurrence[] }>({
    ...{ untrusted_proxies: isOccurrences, refused_origins: isOccurrences },
  }),
});

export interface Stats {
  version: string;
  timestamp: string;
  connection_details: Connection[];
  node: Guarded<typeof isNode>;
  cluster: { nodes?: NodeInfo[]; trouble?: string };
}

const isStats = object<Stats>({
  ...{ version: text(), timestamp: isTimestamp },
  connection_details: list(isConnection, MAX_LISTED),
  node: isNode,
  cluster: object<Stats["cluster"]>({
    trouble: optional(text()),
    nodes: optional(
      list(
        object<NodeInfo>({
          ...{ id: text(), name: text(), started_at: isTimestamp, last_seen_at: isTimestamp, connections: isCount },
        }),
        MAX_LISTED,
      ),
    ),
  }),
});

export interface ConnectionList {
  connections: Connection[];
  not_listed?: number;
  silent_nodes?: string[];
}
const isConnectionList = object<ConnectionList>({
  connections: list(isConnection, MAX_LISTED),
  not_listed: optional(isCount),
  silent_nodes: optional(list(text(), MAX_LISTED)),
});

export interface Readiness {
  status: string;
  reason?: string;
  notices?: string[];
  differences?: string[];
  clock?: { message: string; ahead_seconds: number };
}
const isReadiness = object<Readiness>({
  ...{ status: text(), reason: optional(text()) },
  notices: optional(list(text(), MAX_LISTED)),
  differences: optional(list(text(), MAX_LISTED)),
  clock: optional(object<{ message: string; ahead_seconds: number }>({ message: text(), ahead_seconds: number() })),
});

export const statsOf = (answer: unknown): Stats => checked(isStats, answer);
export const connectionsOf = (answer: unknown): ConnectionList => checked(isConnectionList, answer);
export const readinessOf = (answer: unknown): Readiness => checked(isReadiness, answer);
