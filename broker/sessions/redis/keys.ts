/** The keys, without `{prefix}mqtt:`, which the connection prepends. */
export const KEY = {
  log: "log",
  /** The number of the newest log entry. */
  seq: "seq",
  /** The number of the newest change of any session. */
  changed: "changed",
  totals: "totals",
  /** Sessions by session key: owner and permissions, filters, time of the last use. */
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

/** The number of the newest publication that a run of a node has written. The key expires a day later. */
export function senderKey(brokerId: string): string {
  return `sender:${brokerId}`;
}

/** The numbers of a session's queued messages. */
export function queueKey(clientId: string): string {
  return `queue:${clientId}`;
}

/** The queued messages, the message ids they were sent with, and their total size. */
export function packetsKey(clientId: string): string {
  return `packets:${clientId}`;
}

/** Message ids of the session's QoS 2 publications whose PUBREL has not arrived yet. */
export function incomingKey(clientId: string): string {
  return `incoming:${clientId}`;
}
