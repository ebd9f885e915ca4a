/** The claims of a verified token. Times are in milliseconds since 1970. */
export interface TokenIdentity {
  userId: string;
  permissions: readonly string[];
  issuedAt: number;
  expiresAt: number;
  /** The claim `jti`. Undefined for a token of an identity provider that sets no `jti`. */
  tokenId: string | undefined;
  /** The login that issued the token. Undefined for a token that an operator minted. */
  sessionId?: string | undefined;
}

/**
 * The identity of an MQTT client, or of the owner of a stored session or will, with the data that shows whether the
 * token or secret is still valid. Records of earlier versions have only the identity.
 */
export interface Bearer {
  /** `user:alice`, `device:north`, `service:stacker`. */
  readonly identity: string;
  /** The claim `jti` of the token. */
  readonly tokenId?: string | undefined;
  /** The login that issued the token. */
  readonly sessionId?: string | undefined;
  /** When the token was issued, or when the device got its current secret, milliseconds since 1970. */
  readonly issuedAt?: number | undefined;
  /** When the token expires, milliseconds since 1970. Undefined for a device. */
  readonly expiresAt?: number | undefined;
}

/** A request of an MQTT client that was refused, for the audit log. */
export interface AccessRefusal {
  action: "connect" | "subscribe" | "publish";
  /** `user:alice`, `device:north`; `unknown` for a client that was not authenticated. */
  who: string;
  address: string;
  /** The client id, the filter or the topic; `mqtt` for a connection above a limit. */
  target: string;
  outcome: string;
}

/** An action of an MQTT client that affects others, for the audit log. */
export interface AuditedAct {
  action: "command" | "broadcast";
  /** `user:alice`, `service:stacker`. */
  who: string;
  address: string;
  /** `camera:north capture.now`, `dashboard weather.warning`. */
  target: string;
  outcome: "issued" | "done" | "refused";
}
