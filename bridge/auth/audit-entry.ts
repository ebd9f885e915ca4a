export type AuditAction =
  /** A request that needs a permission: only its refusals. */
  | "access"
  /** A WebSocket or an MQTT client, and what it asks for: only their refusals. */
  | "connect"
  | "subscribe"
  | "publish"
  | "login"
  | "refresh"
  | "logout"
  | "token.mint"
  | "token.revoke"
  | "user.create"
  | "user.update"
  | "user.remove"
  | "connection.close"
  | "clock.accept"
  | "command"
  | "broadcast"
  | `device.${string}`;

export interface AuditEntry {
  action: AuditAction;
  /** `user:alice`, `operator`, `local`, `unknown`; of a login, whom it was to be. */
  who: string;
  /** Where from; undefined when it is not known. */
  address: string | undefined;
  /** What it was done to: `user:bob`, `camera:north`, `channel:dashboard`, … Never a secret, a token or a payload. */
  target: string;
  /** `done`, or why not: `refused`, `reused`, … */
  outcome: string;
}
