import { randomUUID } from "node:crypto";
import type { Client, ConnectPacket } from "aedes";
import type { Logger } from "pino";
import { isId } from "../../contract/ids.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { AccessRefusal, Bearer, TokenIdentity } from "../../platform/identity.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import { RateLimiter, type RateLimits } from "../../platform/rate-limiter.ts";
import { TopicCache } from "../../platform/topic-cache.ts";
import { DeliveryReceipts } from "../aedes/delivery-receipts.ts";
import { ConnackCode, RefusedConnectionError, TokenUndecidedError } from "../aedes/errors.ts";
import type { Origin } from "./admission.ts";
import type { ClientAccess, ClientRegistry } from "./client-registry.ts";
import type { Device, Devices } from "./devices.ts";
import { deviceIdentity } from "./ended-identities.ts";
import { nameIssuer } from "./name-issuer.ts";
import type { PermissionSet, PermissionSets } from "./permission-sets.ts";
import { RefusedDevices } from "./refused-devices.ts";
import { reservedFor, sessionKey } from "./session-names.ts";
import { bearerOf, type SessionOwner } from "./session-owner.ts";
import type { Wills } from "./wills.ts";

/**
 * Any UTF-8 [MQTT-3.1.3-4], but for what would change how a log line is shown: control characters, line and paragraph
 * separators, direction marks. U+FFFD is what the parser makes of bytes that are no UTF-8 [MQTT-1.5.3-1].
 */
const CLIENT_ID = /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Noncharacter_Code_Point}\uFFFD]{1,128}$/u;
export const MAX_CLIENT_ID_LENGTH = 128;
/** Topics a client publishes to that are remembered as decided, in each of two generations. */
const WRITES_PER_CLIENT = 32;

/** There are too many sessions: of everybody, or of the owner. */
export type NotKept = "MAX_MQTT_SESSIONS" | "MAX_MQTT_SESSIONS_PER_USER";

/** The part of the store that knows whose a session is. Sessions go by the names of `session-names.ts`. */
export interface SessionOwners {
  ownerOf(key: string): SessionOwner | undefined;
  /** Keeps a session for the owner; what somebody else has left there is discarded. @returns why it could not be kept */
  keep(key: string, owner: SessionOwner): Promise<NotKept | undefined>;
  /** Forgets the session with all it holds. */
  discard(key: string): Promise<void>;
}

/** CONNECTs from one address that are refused at once within a minute; the answer to further ones comes later. */
const PROMPT_REFUSALS_PER_MINUTE = 30;
/** How much later, milliseconds. A connection that waits counts among those of its address that are not let in yet. */
const REFUSAL_DELAY_MS = 1000;

export interface AuthenticateOptions {
  /** Throws, or rejects, when the token is not to be trusted. @throws {TokenUndecidedError} that is not known now */
  verifyToken(token: string): Promise<TokenIdentity> | TokenIdentity;
  devices: Devices;
  permissionSets: PermissionSets;
  registry: ClientRegistry;
  sessions: SessionOwners;
  wills: Wills;
  /** See `ended-identities.ts`. */
  hasEnded(bearer: Bearer): boolean;
  /** Where the connection comes from. */
  originOf(client: Client): Origin;
  maxPayloadBytes: number;
  maxKeepaliveSeconds: number;
  maxConnectionsPerUser: number;
  maxUserConnectsPerMinute: number;
  pace: RateLimits;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

type PreConnectDone = (error: Error | null, success: boolean) => void;
type AuthenticateDone = (error: (Error & { returnCode: ConnackCode }) | null, success: boolean | null) => void;

type Will = NonNullable<ConnectPacket["will"]>;

/** Decides at CONNECT who a client is, or with which CONNACK it is refused. */
export class Authenticate {
  readonly #options: AuthenticateOptions;
  readonly #connects = new WeakMap<Client, ConnectPacket>();
  /** By identity. */
  readonly #userConnects = new FixedWindowCounter();
  /** Refused CONNECTs by address. */
  readonly #failedConnects = new FixedWindowCounter();
  readonly #refusals = new LimitedLog();
  readonly #leftOutWills = new LimitedLog();
  readonly refusedDevices = new RefusedDevices();
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
          if (named !== undefined && this.#options.devices.get(named) !== undefined)
            this.refusedDevices.note(named, address, error.message);
          this.#refusals.note(`${address} ${named}`, (times) =>
            this.#options.logger.warn({ ...log, why: error.message, times }, "a client is refused"),
          );
          this.#answerLater(address, error, done);
        } else {
          this.#options.logger.error({ ...log, err: error }, "a client could not be let in");
          done(new RefusedConnectionError(ConnackCode.serverUnavailable, "the broker failed"), null);
        }
      },
    );
  };

  /** Whoever guesses at secrets waits for each answer: one that is wrong by mistake is told at once. */
  #answerLater(address: string, error: RefusedConnectionError, done: AuthenticateDone): void {
    const failures = this.#failedConnects.add(address);
    if (failures <= PROMPT_REFUSALS_PER_MINUTE) done(error, null);
    else setTimeout(() => done(error, null), REFUSAL_DELAY_MS).unref();
  }

  async #admit(client: Client, packet: ConnectPacket, username?: string, password?: string): Promise<void> {
    const { registry, sessions, wills, permissionSets, originOf } = this.#options;
    const { clientId, will } = packet;
    this.#checkForm(packet);
    const { certificateName, address, transport } = originOf(client);
    const who = await this.#identify(username, password, certificateName);
    this.#checkRate(who.identity);
    checkReserved(clientId, who.identity);
    const key = this.#sessionKey(clientId, who.identity);
    this.#checkConnections(key, who.identity);
    const set = permissionSets.of(who.permissions);
    const problem = will === undefined ? undefined : this.#willProblem(will, set, who.identity);
    if (client.closed || client.conn.destroyed) throw notAuthorized("it is gone");
    const access: ClientAccess = {
      clientId,
      sessionKey: key,
      identity: who.identity,
      permissions: who.permissions,
      set,
      writes: new TopicCache((topic) => set.decidePublish(topic), WRITES_PER_CLIENT),
      filters: new Map(),
      receipts: packet.clean === true && who.identity.startsWith("device:") ? new DeliveryReceipts() : undefined,
      pace: registry.paceOf(who.identity) ?? new RateLimiter(this.#options.pace),
      lastForwarded: 0,
      leavesBecause: undefined,
      owedAnswers: 0,
      tokenId: who.tokenId,
      sessionId: who.sessionId,
      issuedAt: who.issuedAt,
      expiresAt: who.expiresAt,
      address,
      transport,
      connectedAt: Date.now(),
      keepaliveS: packet.keepalive ?? 0,
    };
    // From here on Aedes and the store know the client by this name.
    Object.assign(client, { id: key });
    if (problem !== undefined) this.#leaveOutWill(client, access, will, problem);
    else if (will !== undefined) wills.sign(will, { key, bearer: bearerOf(who) });
    // The name is taken before the store is waited for, so that another connection of the client sees this one.
    registry.add(client, access);
    const device = deviceIdentity(who.identity);
    if (device !== undefined) this.refusedDevices.forget(device.id);
    if (packet.clean === true) await sessions.discard(key);
    else await this.#keep(key, who);
  }

  async #keep(key: string, owner: SessionOwner): Promise<void> {
    const { sessions, hasEnded } = this.#options;
    const limit = await sessions.keep(key, owner);
    if (limit !== undefined) {
      const whose = limit === "MAX_MQTT_SESSIONS" ? "of all users" : `of ${owner.identity}`;
      const why = `as many sessions ${whose} are stored as ${limit} allows: end one by a clean session, or raise it`;
      throw new RefusedConnectionError(ConnackCode.serverUnavailable, why);
    }
    if (!hasEnded(owner)) return;
    // Revoked while the store was waited for: what looked for its sessions then did not see this one.
    await sessions.discard(key);
    throw badCredentials("its token or secret was taken back");
  }

  #sessionKey(clientId: string, identity: string): string {
    const { registry, sessions } = this.#options;
    // Versions before this one knew a session by its client id alone: its owner finds it there.
    const isOlder = registry.holderOf(clientId) === identity || sessions.ownerOf(clientId)?.identity === identity;
    return isOlder ? clientId : sessionKey(identity, clientId);
  }

  /** @returns why the will may not be published; undefined for one that may, with its issuer's name in it */
  #willProblem(will: Will, set: PermissionSet, identity: string): string | undefined {
    const { maxPayloadBytes } = this.#options;
    if (will.payload.length > maxPayloadBytes)
      return `it has ${will.payload.length} bytes, where MAX_PAYLOAD_BYTES allows ${maxPayloadBytes}`;
    const decision = set.decidePublish(will.topic);
    if (decision.kind === "refused") return decision.why;
    if (decision.kind === "plain") return undefined;
    will.retain &&= decision.retains;
    const isCommand = decision.act?.action === "command";
    return isCommand && !nameIssuer(will, identity) ? "it is a command that is nested too deep" : undefined;
  }

  /**
   * The client is let in without its will, as by Mosquitto: a bridge of Mosquitto and Home Assistant come with wills to
   * topics of their own, and can do nothing about a CONNACK that refuses them.
   */
  #leaveOutWill(client: Client, access: ClientAccess, will: Will | undefined, why: string): void {
    // Aedes has put it aside already, and takes it from here when it stores it.
    Object.assign(client, { _will: undefined });
    const { identity, clientId, address } = access;
    if (will === undefined) return;
    const { topic } = will;
    const { onRefused, logger } = this.#options;
    this.#leftOutWills.note(identity, (times) => {
      onRefused({ action: "publish", who: identity, address, target: topic, outcome: "permission_denied" });
      logger.warn({ identity, clientId, topic, why, times }, "a will is left out: it may not be published");
    });
  }

  stop(): void {
    this.#refusals.stop();
    this.#leftOutWills.stop();
  }

  #checkForm({ clientId, keepalive = 0, will }: ConnectPacket): void {
    const { maxKeepaliveSeconds } = this.#options;
    if (!CLIENT_ID.test(clientId)) {
      const why =
        clientId === ""
          ? "an empty client id and a session to keep"
          : `a client id that is not 1 to ${MAX_CLIENT_ID_LENGTH} characters of UTF-8 without control characters`;
      throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
    }
    // 0 is a right of every client [MQTT-3.1.2.10]: `link-watch.ts` finds out when such a link is dead.
    if (keepalive > maxKeepaliveSeconds)
      throw notAuthorized(`a keep-alive of ${keepalive} s, where MAX_MQTT_KEEPALIVE_SECONDS is ${maxKeepaliveSeconds}`);
    // [MQTT-3.1.2-14]; the parser takes it, and whoever is subscribed would be cut when it cannot be written.
    if ((will?.qos ?? 0) > 2) throw notAuthorized("a will of QoS 3");
  }

  /**
   * A device by its secret, the bearer of a token whatever user name comes with it, or without a password a device by the
   * certificate that TLS has verified. A secret has no dots, a JWT has two.
   */
  async #identify(username?: string, password?: string, certificateName?: string): Promise<SessionOwner> {
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

  #byCertificate(username: string | undefined, certificateName: string | undefined): SessionOwner {
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

  /** Who takes over a connection of its own does not add to them. */
  #checkConnections(key: string, identity: string): void {
    const { registry, maxConnectionsPerUser } = this.#options;
    if (registry.proved(identity) < maxConnectionsPerUser || registry.holderOf(key) !== undefined) return;
    const why = `${identity} has ${maxConnectionsPerUser} connections already`;
    throw new RefusedConnectionError(ConnackCode.serverUnavailable, why);
  }
}

/** Otherwise a camera's name would be whose who uses it first. */
function checkReserved(clientId: string, identity: string): void {
  const owner = reservedFor(clientId);
  if (owner === undefined || owner === identity) return;
  const why = `the client id ${clientId} is reserved for ${owner}, and this is ${identity}: give the client another id`;
  throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
}

function credentialsOf({ id, kind, changedAt }: Device): SessionOwner {
  const isCamera = kind === "camera";
  return {
    identity: `${isCamera ? "device" : "service"}:${id}`,
    permissions: [`${isCamera ? "device" : "processing"}:${id}`],
    issuedAt: changedAt,
  };
}

function notAuthorized(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.notAuthorized, why);
}

function badCredentials(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.badCredentials, why);
}
