import { randomUUID } from "node:crypto";
import type { Client, ConnectPacket } from "aedes";
import type { Logger } from "pino";
import { isId } from "../contract/ids.ts";
import { MinuteCounts } from "../contract/minute-counts.ts";
import { TopicDecisions } from "../contract/topic-decisions.ts";
import type { ClientAccess, ClientRegistry } from "./client-registry.ts";
import { DeliveryReceipts } from "./delivery-receipts.ts";
import type { Device, Devices } from "./devices.ts";
import { type AccessRefusal, ConnackCode, RefusedConnectionError, TokenUndecidedError } from "./errors.ts";
import type { Origin } from "./listeners.ts";
import { nameIssuer } from "./name-issuer.ts";
import { Pace } from "./pace.ts";
import type { PermissionSets } from "./permission-sets.ts";
import type { Wills } from "./wills.ts";

/** Visible ASCII, so that a client id is readable in a log; the length is that of any id in use. */
const CLIENT_ID = /^[!-~]{1,128}$/;
export const MAX_CLIENT_ID_LENGTH = 128;
/** Topics a client publishes to that are remembered as decided, in each of two generations. */
const WRITES_PER_CLIENT = 32;

/** Whom a token speaks for. */
export interface TokenIdentity {
  userId: string;
  permissions: readonly string[];
  /** Milliseconds since 1970. */
  expiresAt: number;
  tokenId?: string | undefined;
  /** Milliseconds since 1970. */
  issuedAt?: number | undefined;
  /** The login it comes from. */
  sessionId?: string | undefined;
}

/** What a session of the store says about its owner. */
export interface SessionOwner {
  identity: string;
  permissions: readonly string[];
}

/** The part of the store that knows whose a client id is. */
export interface SessionOwners {
  ownerOf(clientId: string): SessionOwner | undefined;
  /** Keeps a session for the owner. @returns false when there are too many sessions */
  keep(clientId: string, owner: SessionOwner): Promise<boolean>;
  /** Forgets the session with all it holds. */
  discard(clientId: string): Promise<void>;
}

export interface AuthenticateOptions {
  /** Throws, or rejects, when the token is not to be trusted. @throws {TokenUndecidedError} that is not known now */
  verifyToken(token: string): Promise<TokenIdentity> | TokenIdentity;
  devices: Devices;
  permissionSets: PermissionSets;
  registry: ClientRegistry;
  sessions: SessionOwners;
  wills: Wills;
  /** Where the connection comes from. */
  originOf(client: Client): Origin;
  maxPayloadBytes: number;
  maxKeepaliveSeconds: number;
  maxConnectionsPerUser: number;
  maxUserConnectsPerMinute: number;
  maxMessagesPerSecond: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

type PreConnectDone = (error: Error | null, success: boolean) => void;
type AuthenticateDone = (error: (Error & { returnCode: ConnackCode }) | null, success: boolean | null) => void;

type Credentials = SessionOwner & Pick<ClientAccess, "tokenId" | "sessionId" | "issuedAt" | "expiresAt">;

/** Decides at CONNECT who a client is, or with which CONNACK it is refused. */
export class Authenticate {
  readonly #options: AuthenticateOptions;
  readonly #connects = new WeakMap<Client, ConnectPacket>();
  /** By identity. */
  readonly #userConnects = new MinuteCounts();
  refused = 0;

  constructor(options: AuthenticateOptions) {
    this.#options = options;
  }

  /** Keeps the packet for {@link authenticate}: a refusal from here would leave the client without a CONNACK. */
  readonly preConnect = (client: Client, packet: ConnectPacket, done: PreConnectDone): void => {
    this.#connects.set(client, packet);
    // [MQTT-3.1.3-6]; version 3.1 knows no empty id, and without a clean session there is nothing to come back to.
    if (packet.clientId === "" && packet.clean === true && packet.protocolVersion === 4) {
      packet.clientId = `auto-${randomUUID()}`;
    }
    done(null, true);
  };

  readonly authenticate = (
    client: Client,
    username: string | undefined,
    password: Buffer | undefined,
    done: AuthenticateDone,
  ): void => {
    const packet = this.#connects.get(client);
    if (packet === undefined) {
      done(new RefusedConnectionError(ConnackCode.serverUnavailable, "there was no CONNECT"), null);
      return;
    }
    this.#admit(client, packet, username, password?.toString("utf8")).then(
      () => done(null, true),
      (error: unknown) => {
        this.refused++;
        const { address, transport } = this.#options.originOf(client);
        const clientId = packet.clientId.slice(0, MAX_CLIENT_ID_LENGTH);
        // A user name of another form is no device's; it may be a secret or a token in the wrong place.
        const named = username !== undefined && isId(username) ? username : undefined;
        const log = { address, transport, clientId, username: named };
        if (error instanceof RefusedConnectionError) {
          const outcome = `connack ${error.returnCode}`;
          this.#options.onRefused({ action: "connect", who: "unknown", address, target: `mqtt:${clientId}`, outcome });
          this.#options.logger.warn({ ...log, why: error.message }, "a client is refused");
          done(error, null);
        } else {
          this.#options.logger.error({ ...log, err: error }, "a client could not be let in");
          done(new RefusedConnectionError(ConnackCode.serverUnavailable, "the broker failed"), null);
        }
      },
    );
  };

  async #admit(client: Client, packet: ConnectPacket, username?: string, password?: string): Promise<void> {
    const { registry, sessions, wills, permissionSets, originOf } = this.#options;
    const { clientId, will } = packet;
    this.#checkForm(packet);
    const { certificateName, ...origin } = originOf(client);
    const who = await this.#identify(username, password, certificateName);
    this.#checkRate(who.identity);
    this.#checkHolder(clientId, who.identity);
    this.#checkConnections(clientId, who.identity);
    const set = permissionSets.of(who.permissions);
    if (will !== undefined) {
      const decision = set.decidePublish(will.topic);
      if (decision.kind === "refused") throw notAuthorized(`its will to ${will.topic}: ${decision.why}`);
      if (decision.kind === "ingest") will.retain &&= decision.retains;
      if (decision.kind === "ingest" && decision.act?.action === "command" && !nameIssuer(will, who.identity))
        throw notAuthorized(`its will to ${will.topic}, a command nested too deep`);
    }
    if (client.closed || client.conn.destroyed) throw notAuthorized("it is gone");
    const access: ClientAccess = {
      clientId,
      identity: who.identity,
      permissions: who.permissions,
      set,
      writes: new TopicDecisions((topic) => set.decidePublish(topic), WRITES_PER_CLIENT),
      filters: new Map(),
      receipts: packet.clean === true && who.identity.startsWith("device:") ? new DeliveryReceipts() : undefined,
      pace: registry.paceOf(who.identity) ?? new Pace(this.#options.maxMessagesPerSecond),
      lastForwarded: 0,
      tokenId: who.tokenId,
      sessionId: who.sessionId,
      issuedAt: who.issuedAt,
      expiresAt: who.expiresAt,
      ...origin,
      connectedAt: Date.now(),
    };
    // The id is taken before the store is waited for, so that nobody else can take it meanwhile.
    registry.add(client, access);
    if (will !== undefined) wills.sign(will, access);
    if (packet.clean === true) await sessions.discard(clientId);
    else if (!(await sessions.keep(clientId, { identity: who.identity, permissions: who.permissions }))) {
      throw new RefusedConnectionError(ConnackCode.serverUnavailable, "there are too many stored sessions");
    }
  }

  #checkForm({ clientId, keepalive = 0, will }: ConnectPacket): void {
    const { maxKeepaliveSeconds, maxPayloadBytes } = this.#options;
    if (!CLIENT_ID.test(clientId)) {
      const why = clientId === "" ? "an empty client id" : "a client id that is not 1 to 128 of visible ASCII";
      throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
    }
    if (Number.isFinite(maxKeepaliveSeconds) && (keepalive === 0 || keepalive > maxKeepaliveSeconds)) {
      throw notAuthorized(`a keep-alive of ${keepalive} s, where 1 to ${maxKeepaliveSeconds} are allowed`);
    }
    // [MQTT-3.1.2-14]; the parser takes it, and whoever is subscribed would be cut when it cannot be written.
    if ((will?.qos ?? 0) > 2) throw notAuthorized("a will of QoS 3");
    if (will !== undefined && will.payload.length > maxPayloadBytes)
      throw notAuthorized(`a will of ${will.payload.length} bytes`);
  }

  /**
   * A device by its secret, the bearer of a token whatever user name comes with it, or without a password a device by the
   * certificate that TLS has verified. A secret has no dots, a JWT has two.
   */
  async #identify(username?: string, password?: string, certificateName?: string): Promise<Credentials> {
    if (password === undefined || password === "") return this.#byCertificate(username, certificateName);
    if (password.split(".").length === 3) {
      const token = await this.#verified(password);
      return {
        identity: `user:${token.userId}`,
        permissions: token.permissions,
        tokenId: token.tokenId,
        sessionId: token.sessionId,
        issuedAt: token.issuedAt,
        expiresAt: token.expiresAt,
      };
    }
    const device = this.#options.devices.verify(username ?? "", password);
    if (device === undefined) throw badCredentials("no such device, or not its secret");
    return credentialsOf(device);
  }

  #byCertificate(username: string | undefined, certificateName: string | undefined): Credentials {
    if (certificateName === undefined) throw notAuthorized("no password: neither a secret nor a token");
    const device = this.#options.devices.withCertificate(certificateName);
    if (device === undefined)
      throw notAuthorized(`no password, and its certificate ${JSON.stringify(certificateName)} is no device's`);
    if (username !== undefined && username !== "" && username !== device.id)
      throw notAuthorized(`the user name ${JSON.stringify(username)}, with the certificate of ${device.id}`);
    return credentialsOf(device);
  }

  async #verified(password: string): Promise<TokenIdentity> {
    try {
      return await this.#options.verifyToken(password);
    } catch (error) {
      if (error instanceof TokenUndecidedError)
        throw new RefusedConnectionError(ConnackCode.serverUnavailable, `its token: ${error.message}`);
      throw badCredentials(`its token: ${error instanceof Error ? error.message : "is not valid"}`);
    }
  }

  #checkRate(identity: string): void {
    const { maxUserConnectsPerMinute } = this.#options;
    if (this.#userConnects.add(identity) <= maxUserConnectsPerMinute) return;
    const why = `${identity} has connected ${maxUserConnectsPerMinute} times within a minute`;
    throw new RefusedConnectionError(ConnackCode.serverUnavailable, why);
  }

  /** A client id belongs to the identity that is connected with it, or has a session stored under it. */
  #checkHolder(clientId: string, identity: string): void {
    const holder = this.#options.registry.holderOf(clientId) ?? this.#options.sessions.ownerOf(clientId)?.identity;
    if (holder === undefined || holder === identity) return;
    throw new RefusedConnectionError(ConnackCode.identifierRejected, `the client id is ${holder}'s`);
  }

  /** Who takes over a connection of its own does not add to them. */
  #checkConnections(clientId: string, identity: string): void {
    const { registry, maxConnectionsPerUser } = this.#options;
    if (registry.proved(identity) < maxConnectionsPerUser || registry.holderOf(clientId) !== undefined) return;
    const why = `${identity} has ${maxConnectionsPerUser} connections already`;
    throw new RefusedConnectionError(ConnackCode.serverUnavailable, why);
  }
}

function credentialsOf({ id, kind }: Device): Credentials {
  const isCamera = kind === "camera";
  return {
    identity: `${isCamera ? "device" : "service"}:${id}`,
    permissions: [`${isCamera ? "device" : "processing"}:${id}`],
    ...{ tokenId: undefined, sessionId: undefined, issuedAt: undefined, expiresAt: undefined },
  };
}

function notAuthorized(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.notAuthorized, why);
}

function badCredentials(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.badCredentials, why);
}
