export type AuditAction =
  /** An HTTP request that needs a permission. Only refusals are recorded. */
  | "access"
  /** A connection of a WebSocket or MQTT client. Only refusals are recorded. */
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
  | "session.end"
  | "password.change"
  | "connection.close"
  | "clock.accept"
  | "log.level"
  | "command"
  | "broadcast"
  | `alert.${"acknowledge" | "mute" | "unmute"}`
  | "camera.update"
  | `camera-group.${string}`
  | `device.${string}`
  | `integration.${string}`;

export interface AuditEntry {
  action: AuditAction;
  /** `user:alice`, `operator`, `local`, `setup`, `unknown`. For a login, the user id that the client sent. */
  who: string;
  address: string | undefined;
  /** `user:bob`, `camera:north`, `channel:dashboard`, … Never a secret, a token or a payload. */
  target: string;
  /** `done`, or the reason of the refusal: `refused`, `reused`, … */
  outcome: string;
}
