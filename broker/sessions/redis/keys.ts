/** The keys, below `{prefix}mqtt:`, which the connection puts in front. */
export const KEY = {
  log: "log",
  /** The number given last. */
  seq: "seq",
  /** The number of the newest change of a session. */
  changed: "changed",
  totals: "totals",
  /** Sessions: owner and permissions, filters, when last seen; by client id. */
  owners: "owners",
  filters: "filters",
  seen: "seen",
  retained: "retained",
  wills: "wills",
  nodes: "nodes",
  boot: "boot",
} as const;

/** A limit as the script takes it. */
export function limit(value: number): string {
  return String(Number.isFinite(value) ? value : Number.MAX_SAFE_INTEGER);
}

/** The newest publication that a run of a node has written. Expires a day after it. */
export function senderKey(brokerId: string): string {
  return `sender:${brokerId}`;
}

/** A session's messages, by number. */
export function queueKey(clientId: string): string {
  return `queue:${clientId}`;
}

/** The messages themselves, the ids they were sent with, and their size. */
export function packetsKey(clientId: string): string {
  return `packets:${clientId}`;
}

/** Message ids of QoS 2 publications of the session whose PUBREL is still to come. */
export function incomingKey(clientId: string): string {
  return `incoming:${clientId}`;
}
