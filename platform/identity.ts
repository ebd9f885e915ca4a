/** Every secret of an integration begins with this, and no other credential does. */
export const INTEGRATION_SECRET_PREFIX = "skylapse_";

/**
 * The claims of a verified token, or what the secret of an integration proves. Times are in milliseconds since 1970.
 */
export interface TokenIdentity {
  userId: string;
  permissions: readonly string[];
  issuedAt: number;
  /** Undefined for a secret that is valid until it is revoked. */
  expiresAt: number | undefined;
  /** The claim `jti`, which some identity providers do not set. */
  tokenId: string | undefined;
  /** The login that issued the token. Undefined for a token that an operator minted. */
  sessionId?: string | undefined;
}

/**
 * The owner of a connection, session or will. The optional fields, which old records lack, identify the credentials.
 */
export interface Bearer {
  /** `user:alice`, `device:north`, `service:stacker`. */
  readonly identity: string;
  /** The claim `jti` of the token. */
  readonly tokenId?: string | undefined;
  /** The login that issued the token. */
  readonly sessionId?: string | undefined;
  /** When the token was issued, or the device's secret was set, milliseconds since 1970. */
  readonly issuedAt?: number | undefined;
  /** When the token expires, milliseconds since 1970. Undefined for a secret. */
  readonly expiresAt?: number | undefined;
}

/** A refused request of an MQTT client, for the audit log. */
export interface AccessRefusal {
  action: "connect" | "subscribe" | "publish";
  /** `user:alice`, `device:north`; `unknown` for a client that was not authenticated. */
  who: string;
  address: string;
  /** The client id, the filter or the topic; `mqtt` for a connection above a limit. */
  target: string;
  outcome: string;
}

/** A command or broadcast of an MQTT client, for the audit log. */
export interface AuditedAct {
  action: "command" | "broadcast";
  /** `user:alice`, `service:stacker`. */
  who: string;
  address: string;
  /** `camera:north capture.now`, `dashboard weather.warning`. */
  target: string;
  outcome: "issued" | "done" | "refused";
}
