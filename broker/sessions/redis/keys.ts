/** The connection prepends `{prefix}mqtt:`. */
export const KEY = {
  log: "log",
  /** The number of the newest log entry. */
  seq: "seq",
  /** The number of the newest change of a session. */
  changed: "changed",
  totals: "totals",
  /** By session key: owner and permissions, filters, time of the last use. */
  owners: "owners",
  filters: "filters",
  seen: "seen",
  retained: "retained",
  wills: "wills",
  nodes: "nodes",
  boot: "boot",
} as const;

/** A limit as an argument of the script. */
export function limit(value: number): string {
  return String(Number.isFinite(value) ? value : Number.MAX_SAFE_INTEGER);
}

/** The number of the newest publication of a node's run. Expires a day after that publication. */
export function senderKey(brokerId: string): string {
  return `sender:${brokerId}`;
}

/** The numbers of a session's queued messages. */
export function queueKey(clientId: string): string {
  return `queue:${clientId}`;
}

/** A session's queued messages, with their message ids and total size. */
export function packetsKey(clientId: string): string {
  return `packets:${clientId}`;
}

/** Message ids of a session's QoS 2 publications without a PUBREL. */
export function incomingKey(clientId: string): string {
  return `incoming:${clientId}`;
}
