import type { ConnectPacket } from "aedes";
import { counted } from "../../platform/counted.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { Bearer } from "../../platform/identity.ts";
import { RateLimiter, type RateLimits } from "../../platform/rate-limiter.ts";
import { TopicCache } from "../../platform/topic-cache.ts";
import { DeliveryReceipts } from "../aedes/delivery-receipts.ts";
import type { Origin } from "./admission.ts";
import type { BrokerClient } from "./broker-client.ts";
import type { ClientAccess, ClientRegistry } from "./client-registry.ts";
import { assignClientId, type CheckedConnect, checkConnectPacket, checkReservedId } from "./connect-packet.ts";
import type { ConnectRefusals } from "./connect-refusals.ts";
import { type IdentityChecks, identify } from "./credentials.ts";
import { deviceIdentity } from "./ended-identities.ts";
import { badCredentials, ConnackCode, notAuthorized, RefusedConnectionError } from "./errors.ts";
import type { PermissionSets } from "./permission-sets.ts";
import { sessionKey } from "./session-names.ts";
import { ownerOf, type SessionOwner } from "./session-owner.ts";
import type { WillAdmission } from "./will-admission.ts";

/** The largest number of publish decisions in each of the two generations of a client's `TopicCache`. */
const WRITES_PER_CLIENT = 32;

/** The setting whose limit keeps a session from being stored. */
type NotKept = "MAX_MQTT_SESSIONS" | "MAX_MQTT_SESSIONS_PER_USER";

/** The session is kept, and was there before or not; or a limit keeps it from being stored. */
export type Kept = { readonly isResumed: boolean } | { readonly refusedBy: NotKept };

/** The owners of the stored sessions, by the keys of `session-names.ts`. */
export interface SessionOwners {
  ownerOf(key: string): SessionOwner | undefined;
  /**
   * Stores the session for its owner. Discards a session that has expired, or that another owner left under the same key.
   * @param expiry the session expiry interval, seconds; undefined for `MQTT_SESSION_HOURS`, which is also the longest one
   */
  keep(key: string, owner: SessionOwner, expiry?: number): Promise<Kept>;
  /** Deletes the session with its subscriptions and queued messages. */
  discard(key: string): Promise<void>;
}

interface AuthenticateOptions extends IdentityChecks {
  permissionSets: PermissionSets;
  registry: ClientRegistry;
  sessions: SessionOwners;
  wills: WillAdmission;
  refusals: ConnectRefusals;
  hasEnded(bearer: Bearer): boolean;
  originOf(client: BrokerClient): Origin;
  maxKeepaliveSeconds: number;
  maxConnectionsPerUser: number;
  maxUserConnectsPerMinute: number;
  rateLimits: RateLimits;
}

/** A CONNECT of MQTT 5. `clean` means that the session ends with the connection. */
export interface Mqtt5Connect extends Omit<ConnectPacket, "username" | "password" | "will"> {
  username: string | undefined;
  password: Buffer | undefined;
  will: ConnectPacket["will"] | undefined;
  /** Whether an earlier session of the client is discarded. */
  cleanStart: boolean;
  /** The session expiry interval, seconds; undefined for `MQTT_SESSION_HOURS`, which is also the longest one. */
  sessionExpiry: number | undefined;
}

type PreConnectDone = (error: Error | null, success: boolean) => void;
type AuthenticateDone = (error: (Error & { returnCode: ConnackCode }) | null, success: boolean | null) => void;

/** Aedes' hooks for CONNECT. */
export class Authenticate {
  readonly #options: AuthenticateOptions;
  readonly #packets = new WeakMap<BrokerClient, ConnectPacket>();
  readonly #connectsByIdentity = new FixedWindowCounter();

  constructor(options: AuthenticateOptions) {
    this.#options = options;
  }

  /** Never refuses a client: Aedes would close the connection without a CONNACK. */
  readonly preConnect = (client: BrokerClient, packet: ConnectPacket, done: PreConnectDone): void => {
    this.#packets.set(client, packet);
    assignClientId(packet);
    done(null, true);
  };

  readonly authenticate = (
    client: BrokerClient,
    username: string | undefined,
    password: Buffer | undefined,
    done: AuthenticateDone,
  ): void => {
    const packet = this.#packets.get(client);
    if (packet === undefined) {
      done(new RefusedConnectionError(ConnackCode.serverUnavailable, "the client has sent no CONNECT"), null);
      return;
    }
    this.#admit(client, packet, username, password?.toString("utf8")).then(
      () => done(null, true),
      (error: unknown) => {
        const connect = { clientId: packet.clientId, username, origin: this.#options.originOf(client) };
        this.#options.refusals.add(connect, error, (refusal) => done(refusal, null));
      },
    );
  };

  /**
   * Admits a client of MQTT 5. @returns the client id that the client gets because it has sent none
   * @throws {RefusedConnectionError}
   */
  async connect(client: BrokerClient, packet: Mqtt5Connect): Promise<{ assignedClientId: string | undefined }> {
    const { refusals, originOf } = this.#options;
    const hasNoId = packet.clientId === "";
    assignClientId(packet);
    const { clientId, username, password } = packet;
    try {
      await this.#admit(client, packet, username, password?.toString("utf8"));
    } catch (error) {
      const connect = { clientId, username, origin: originOf(client) };
      throw await new Promise((resolve) => refusals.add(connect, error, resolve));
    }
    return { assignedClientId: hasNoId ? clientId : undefined };
  }

  async #admit(
    client: BrokerClient,
    packet: CheckedConnect & Partial<Pick<Mqtt5Connect, "cleanStart" | "sessionExpiry">>,
    username?: string,
    password?: string,
  ): Promise<void> {
    const { registry, refusals, sessions, wills, permissionSets, originOf } = this.#options;
    const { clientId, will, cleanStart = packet.clean === true, sessionExpiry } = packet;
    checkConnectPacket(packet, this.#options.maxKeepaliveSeconds);
    const { certificateName, address, transport } = originOf(client);
    const owner = await identify({ username, password, certificateName, address }, this.#options);
    const { identity } = owner;
    this.#checkRate(identity);
    checkReservedId(clientId, identity);
    const key = this.#sessionKey(clientId, identity);
    this.#checkConnections(key, identity);
    if (client.closed || client.conn.destroyed) throw notAuthorized("the client has disconnected");
    const set = permissionSets.of(owner.permissions);
    const access: ClientAccess = {
      clientId,
      sessionKey: key,
      ...ownerOf(owner),
      set,
      writes: new TopicCache((topic) => set.decidePublish(topic), WRITES_PER_CLIENT),
      filters: registry.filtersOf(identity),
      liveAbove: 0,
      receipts: packet.clean === true && identity.startsWith("device:") ? new DeliveryReceipts() : undefined,
      rateLimiter: registry.rateLimiterOf(identity) ?? new RateLimiter(this.#options.rateLimits),
      awaitsSession: true,
      isAccepted: false,
      isResumed: false,
      disconnectReason: undefined,
      lastMessageId: 0,
      expectedAcks: 0,
      address,
      transport,
      connectedAt: Date.now(),
      keepaliveS: packet.keepalive ?? 0,
    };
    // From now on Aedes and the store identify the client by this key.
    Object.assign(client, { id: key });
    if (will !== undefined) wills.admit(client, access, owner, will);
    // The client is registered before the store is awaited, so that another connection of the client replaces this one.
    registry.add(client, access);
    const device = deviceIdentity(identity);
    if (device !== undefined) refusals.devices.forget(device.id);
    try {
      if (cleanStart) await sessions.discard(key);
      if (packet.clean !== true) access.isResumed = await this.#keep(key, owner, sessionExpiry);
    } finally {
      access.awaitsSession = false;
    }
  }

  /** @returns whether the session was there before */
  async #keep(key: string, owner: SessionOwner, expiry: number | undefined): Promise<boolean> {
    const { sessions, hasEnded } = this.#options;
    const kept = await sessions.keep(key, owner, expiry);
    if ("refusedBy" in kept) {
      const limit = kept.refusedBy;
      const whose = limit === "MAX_MQTT_SESSIONS" ? "all users" : owner.identity;
      const why = `the sessions of ${whose} have reached ${limit}: connect once with a clean session to end one, or raise the limit`;
      throw new RefusedConnectionError(ConnackCode.serverUnavailable, why, "quota");
    }
    if (!hasEnded(owner)) return kept.isResumed;
    // The owner was revoked while the store was awaited, so the cleanup after the revocation has missed this session.
    await sessions.discard(key);
    throw badCredentials("its token or secret has been revoked");
  }

  #sessionKey(clientId: string, identity: string): string {
    const { registry, sessions } = this.#options;
    // Earlier versions identified a session by its client id alone.
    const isOlder = registry.identityAt(clientId) === identity || sessions.ownerOf(clientId)?.identity === identity;
    return isOlder ? clientId : sessionKey(identity, clientId);
  }

  #checkRate(identity: string): void {
    const { maxUserConnectsPerMinute } = this.#options;
    if (this.#connectsByIdentity.add(identity) <= maxUserConnectsPerMinute) return;
    const why = `${identity} has connected ${counted(maxUserConnectsPerMinute, "time")} within a minute`;
    throw new RefusedConnectionError(ConnackCode.serverUnavailable, why, "rate");
  }

  /** Enforces `maxConnectionsPerUser`. A client that replaces its own older connection adds no connection. */
  #checkConnections(key: string, identity: string): void {
    const { registry, maxConnectionsPerUser } = this.#options;
    if (registry.authenticatedConnections(identity) < maxConnectionsPerUser || registry.identityAt(key) !== undefined)
      return;
    const why = `${identity} already has ${counted(maxConnectionsPerUser, "connection")}`;
    throw new RefusedConnectionError(ConnackCode.serverUnavailable, why, "quota");
  }
}
