import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { type WebSocket, WebSocketServer } from "ws";
import type { CustomChannels } from "../../contract/channels.ts";
import { CloseCode } from "../../contract/codes.ts";
import type { Grants } from "../../contract/permissions.ts";
import { MAX_CLIENT_FRAME_BYTES } from "../../contract/socket-messages.ts";
import { plainAddress } from "../../platform/addresses.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Audit } from "../auth/audit.ts";
import { ProviderUnavailableError } from "../auth/identity-provider.ts";
import { InvalidTokenError, type Tokens } from "../auth/tokens.ts";
import type { ConnectionRegister } from "../cluster/cluster.ts";
import type { CommandRunner } from "../commands/command-relay.ts";
import type { BackfillStats } from "../delivery/backfill.ts";
import { Delivery } from "../delivery/delivery.ts";
import type { FanOutStats } from "../delivery/fan-out.ts";
import type { Journal } from "../journal/journal.ts";
import { Admission, count } from "./admission.ts";
import {
  AUTH_TIMEOUT,
  FOREIGN_ORIGIN,
  INVALID_TOKEN,
  MAX_FRAGMENTS,
  readFirstFrame,
  refuseUpgrade,
  watchEarlyBytes,
} from "./authentication.ts";
import { type SocketsConfig, withDefaults } from "./config.ts";
import { Connection } from "./connection.ts";
import { sendAway } from "./drain.ts";
import { type Peer, startHeartbeat } from "./heartbeat.ts";
import { OutageNotice, STORE_AWAY } from "./outage-notice.ts";
import type { MessageBytes, RequestId } from "./requests.ts";
import { Session, type SessionContext, type StoreState } from "./session.ts";

export type { SocketsConfig } from "./config.ts";

export interface SocketsOptions {
  config: SocketsConfig;
  journal: Journal;
  tokens: Pick<Tokens, "prepare" | "verify">;
  /** Looks again at whom a token let in. @throws {InvalidTokenError} it is good no more. Default: it is what it was */
  review?: (identity: TokenIdentity) => TokenIdentity;
  grantsOf: (permissions: readonly string[]) => Grants;
  channels: CustomChannels;
  commands: CommandRunner;
  audit: Pick<Audit, "refuse">;
  /** Counts each user's connections, over all nodes. */
  register: Pick<ConnectionRegister, "enter">;
  store: StoreState;
  logger: Logger;
}

/** One authenticated connection. */
export interface ConnectionInfo {
  connection_id: string;
  user_id: string;
  /** RFC 3339. */
  connected_at: string;
  ip_address: string;
  /** When the client was last heard, RFC 3339. */
  last_seen: string;
  channels: string[];
  /** It reads too slowly: its events wait in the journal. */
  lagging: boolean;
  queued_bytes: number;
}

export interface SocketsStats {
  /** Authenticated. */
  connections: number;
  unauthenticated: number;
  users: number;
  /** Authenticated, not lagging, and no ping of theirs is overdue. */
  healthy: number;
  lagging: number;
  fanOut: FanOutStats;
  catchUp: BackfillStats;
  opened: number;
  /** Upgrades that were refused. */
  refused: number;
  /** By code: those of the contract, a few of the WebSocket protocol, and "other". */
  closes: Record<string, number>;
}

export interface RevokedTokens {
  tokenId?: string;
  userId?: string;
  /** Milliseconds since 1970. */
  issuedBefore?: number;
}

export interface Sockets {
  /**
   * Counts a connection to the port that the sockets share with HTTP. To be asked first of all, before anything is kept
   * for it. @returns false when its address has too many: it is destroyed
   */
  admit(socket: Socket): boolean;
  /** Takes over a socket whose request asks for a WebSocket at the right path. Never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  connections(): ConnectionInfo[];
  stats(): SocketsStats;
  /** Subscriptions by channel. */
  channelCounts(): Record<string, number>;
  subscribers(channel: string): number;
  /** @returns false when there is no such connection. Default code: `revoked` */
  closeConnection(connectionId: string, code?: CloseCode): boolean;
  /** Closes the connections whose token matches everything that is named. @returns how many */
  revoke(match: RevokedTokens): number;
  /** Looks again at every user: whose token is good no more is closed with 4005, who may do other things is told so. */
  review(): void;
  /**
   * Takes nobody new, and says goodbye to those who are there: a few at a time, so that they do not all come to another
   * node at one moment. Who has not answered when the time is over is left to {@link Sockets.stop}. Idempotent.
   * @param spreadMs how long it may take; a few connections need less
   */
  drain(spreadMs: number): Promise<void>;
  /** Says goodbye to all who are left, and returns within a second. */
  stop(): Promise<void>;
}

/** How long peers have to answer the goodbye when the server stops. */
const STOP_TIMEOUT_MS = 500;
/** Frames that a client may send before it knows that it is admitted. */
const MAX_EARLY_FRAMES = 32;
const MAX_KEPT_GRANTS = 1_000;
/** What the log says of a close code, of ours and of RFC 6455. */
const WHY_CLOSED: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  ...Object.entries(CloseCode).map(([name, code]) => [code, name] as const),
  [1000, "the client closed it"],
  [1001, "the page was left, or the client goes away"],
  [1005, "the client closed it without a code"],
  [1006, "its connection was lost"],
]);
/** Close codes of RFC 6455 that are counted by name. */
const COUNTED_CODES: ReadonlySet<number> = new Set([1000, 1001, 1002, 1005, 1006, 1007, 1009]);

export function startSockets(options: SocketsOptions): Sockets {
  const sockets = new SocketServer(options);
  sockets.start();
  return sockets;
}

class SocketServer implements Sockets {
  readonly #options: SocketsOptions;
  readonly #config: Required<SocketsConfig>;
  readonly #logger: Logger;
  readonly #admission: Admission;
  readonly #delivery: Delivery;
  readonly #server: WebSocketServer;
  readonly #peers = new Map<string, Peer>();
  readonly #users = new Map<string, number>();
  /** By user, those who have shown a good token. */
  readonly #userConnects = new FixedWindowCounter();
  readonly #counts = new Map<string, number>();
  readonly #closes = new Map<string, number>();
  readonly #context: SessionContext;
  readonly #outage: OutageNotice;
  readonly #grants = new Map<string, Grants>();
  #opened = 0;
  #refused = 0;
  #unwatch: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  #draining: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: SocketsOptions) {
    const { journal, logger } = options;
    const config = withDefaults(options.config);
    this.#options = options;
    this.#outage = new OutageNotice(options.store.unavailableReason);
    this.#logger = logger;
    this.#config = config;
    this.#admission = new Admission(config);
    const { maxQueuedBytes, flushIntervalMs } = config;
    this.#delivery = new Delivery({
      ...{ journal, waitsForStore: options.store.shared, flushIntervalMs, maxQueuedBytes, logger },
    });
    const serverOptions = {
      noServer: true,
      clientTracking: false,
      // Compression would make the writes of `ws` asynchronous, and cost each connection its own memory.
      perMessageDeflate: false,
      maxPayload: MAX_CLIENT_FRAME_BYTES,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_FRAGMENTS,
      closeTimeout: config.closeTimeoutMs,
    };
    this.#server = new WebSocketServer(serverOptions);
    this.#context = {
      ...config,
      ...options,
      ...{ delivery: this.#delivery, counts: this.#counts },
      grantsOf: (permissions) => this.#grantsOf(permissions),
    };
  }

  start(): void {
    this.#delivery.start();
    this.#unwatch = startHeartbeat({
      waits: this.#config,
      peers: this.#peers,
      onAuthTimeout: (connection) => this.#reject(connection, AUTH_TIMEOUT, CloseCode.authTimeout),
      onLooked: () => {
        this.#delivery.evictUnused();
        this.#tellOutage();
      },
    });
  }

  admit(socket: Socket): boolean {
    const address = plainAddress(socket.remoteAddress ?? "");
    if (this.#config.isTrustedProxy(address) || this.#admission.admitHttp(socket, address)) return true;
    this.#refuse(address, "http", "too many connections from this address");
    socket.destroy();
    return false;
  }

  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const address = this.#config.addressOf(request);
    const refusal =
      this.#draining !== undefined || this.#stopping !== undefined
        ? ({ status: 503, message: "the server is stopping" } as const)
        : this.#config.origins.allows(request)
          ? this.#admission.refusal(address)
          : FOREIGN_ORIGIN;
    if (refusal === FOREIGN_ORIGIN) this.#config.origins.noteRefusal(request);
    if (refusal !== undefined) {
      this.#refused++;
      this.#refuse(address, "socket", `${refusal.status} ${refusal.message}`);
      this.#logger.debug({ address, origin: request.headers.origin, ...refusal }, "upgrade refused");
      refuseUpgrade(socket, refusal);
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (ws) => this.#open(ws, socket, address));
  }

  connections(): ConnectionInfo[] {
    const infos: ConnectionInfo[] = [];
    // Connections count by running time, which no set of the clock moves.
    const shown = (moment: number) => new Date(Date.now() - performance.now() + moment).toISOString();
    for (const { connection, session } of this.#peers.values()) {
      if (session === undefined) continue;
      infos.push({
        connection_id: connection.id,
        user_id: session.identity.userId,
        connected_at: shown(connection.openedAt),
        ip_address: connection.address,
        last_seen: shown(connection.heardAt),
        channels: [...session.subscriber.channels.keys()],
        lagging: session.subscriber.lagging,
        queued_bytes: connection.queuedBytes,
      });
    }
    return infos;
  }

  stats(): SocketsStats {
    let connections = 0;
    let healthy = 0;
    let lagging = 0;
    for (const { connection, session } of this.#peers.values()) {
      if (session === undefined) continue;
      connections++;
      if (session.subscriber.lagging) lagging++;
      // The ping of the moment is not overdue before the next one is.
      else if (connection.unanswered < 2) healthy++;
    }
    const { fanOut, backfill } = this.#delivery.stats();
    return {
      ...{ connections, unauthenticated: this.#peers.size - connections, users: this.#users.size },
      ...{ healthy, lagging, opened: this.#opened, refused: this.#refused },
      fanOut,
      catchUp: backfill,
      closes: Object.fromEntries(this.#closes),
    };
  }

  channelCounts(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }

  subscribers(channel: string): number {
    return this.#counts.get(channel) ?? 0;
  }

  closeConnection(connectionId: string, code: CloseCode = CloseCode.revoked): boolean {
    const peer = this.#peers.get(connectionId);
    if (peer === undefined) return false;
    peer.connection.close(code, "closed by an operator");
    return true;
  }

  revoke({ tokenId, userId, issuedBefore }: RevokedTokens): number {
    if (tokenId === undefined && userId === undefined && issuedBefore === undefined) return 0;
    let revoked = 0;
    for (const { connection, session } of this.#peers.values()) {
      if (session === undefined || !connection.open) continue;
      const { identity } = session;
      if (tokenId !== undefined && identity.tokenId !== tokenId) continue;
      if (userId !== undefined && identity.userId !== userId) continue;
      if (issuedBefore !== undefined && identity.issuedAt >= issuedBefore) continue;
      connection.close(CloseCode.revoked, "the token was revoked");
      revoked++;
    }
    return revoked;
  }

  review(): void {
    for (const { connection, session } of this.#peers.values()) {
      if (session === undefined || !connection.open) continue;
      const identity = this.#reviewed(session.identity);
      if (identity === undefined) connection.close(CloseCode.revoked, "the token was revoked");
      else if (identity !== session.identity) session.regrant(identity);
    }
  }

  drain(spreadMs: number): Promise<void> {
    const connections = () => [...this.#peers.values()].map(({ connection }) => connection);
    this.#draining ??= sendAway(connections, spreadMs, () => this.#stopping !== undefined);
    return this.#draining;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#unwatch?.();
    this.#delivery.stop();
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    for (const { connection } of this.#peers.values()) connection.close(CloseCode.shutdown, "the server is stopping");
    if (this.#peers.size > 0) {
      const timer = setTimeout(() => {
        for (const { connection } of this.#peers.values()) connection.ws.terminate();
      }, STOP_TIMEOUT_MS);
      await empty;
      clearTimeout(timer);
    }
    this.#server.close();
  }

  #open(ws: WebSocket, socket: Duplex, address: string): void {
    const openedAt = performance.now();
    const { maxQueuedBytes } = this.#config;
    const connection = new Connection(randomUUID(), { ws, socket, address }, { openedAt, maxQueuedBytes });
    const peer: Peer = { connection, session: undefined, known: false, early: undefined, leave: undefined };
    this.#peers.set(connection.id, peer);
    this.#admission.enter(socket, address);
    this.#opened++;
    ws.on("message", (bytes, isBinary) => this.#receive(peer, bytes, isBinary));
    ws.on("ping", () => connection.heard(performance.now()));
    ws.on("pong", () => connection.heard(performance.now()));
    ws.on("close", (code) => this.#closed(peer, code));
    ws.on("error", (error) => this.#logger.debug({ connection: connection.id, reason: error.message }, "socket error"));
    socket.on("drain", () => peer.session?.subscriber.drained());
    // Not while the key of his token is being fetched: for so long he may be anybody.
    const isKnown = () => peer.known || !connection.open;
    watchEarlyBytes(socket, isKnown, () => connection.cut(CloseCode.protocolError, "too much before a token"));
  }

  #receive(peer: Peer, bytes: MessageBytes, isBinary: boolean): void {
    const { connection, session } = peer;
    if (!connection.open) return;
    connection.heard(performance.now());
    try {
      if (peer.early !== undefined) this.#keepEarly(peer, bytes, isBinary);
      else if (session === undefined) this.#authenticate(peer, bytes, isBinary);
      else session.receive(bytes, isBinary);
    } catch (error) {
      this.#logger.error({ err: error, connection: connection.id }, "message not handled");
      connection.close(CloseCode.internal, "the server failed");
    }
  }

  #authenticate(peer: Peer, bytes: MessageBytes, isBinary: boolean): void {
    const { connection } = peer;
    const frame = readFirstFrame(bytes, isBinary);
    if (!frame.ok) {
      this.#reject(connection, frame.error, frame.code);
      return;
    }
    const failed = (error: unknown) => {
      // Of the provider's absence its own part has told, and not once for each who comes.
      const level = error instanceof ProviderUnavailableError ? "debug" : "error";
      this.#logger[level]({ err: error, connection: connection.id }, "connection not admitted");
      connection.close(CloseCode.internal, "the server failed");
    };
    const admit = () => {
      const identity = this.#identify(frame.token);
      if (identity === undefined) this.#reject(connection, INVALID_TOKEN, CloseCode.authInvalid);
      else {
        peer.known = true;
        peer.early ??= [];
        this.#admit(peer, identity, frame.id).catch(failed);
      }
    };
    const waiting = this.#options.tokens.prepare(frame.token);
    if (waiting === undefined) admit();
    else {
      peer.early = [];
      waiting.then(admit).catch(failed);
    }
  }

  /** @returns undefined when the token is not to be trusted */
  #identify(token: string): TokenIdentity | undefined {
    try {
      return this.#options.tokens.verify(token);
    } catch (error) {
      if (error instanceof InvalidTokenError) return undefined;
      throw error;
    }
  }

  /** Counts the user's connections, which may mean to ask Redis; what the client sends meanwhile waits. */
  async #admit(peer: Peer, identity: TokenIdentity, id: RequestId): Promise<void> {
    const { connection } = peer;
    const { maxConnectionsPerUser, maxUserConnectsPerMinute, pingIntervalMs } = this.#config;
    if (this.#userConnects.add(identity.userId) > maxUserConnectsPerMinute) {
      const error = `More than ${maxUserConnectsPerMinute} connections of one user in a minute: try again later`;
      this.#reject(connection, error, CloseCode.connectRate);
      return;
    }
    const limit = Number.isFinite(maxConnectionsPerUser) ? maxConnectionsPerUser : 0;
    const leave = await this.#options.register.enter(identity.userId, connection.id, limit);
    if (leave === undefined) {
      const error = `More than ${maxConnectionsPerUser} connections of one user: close another first`;
      this.#reject(connection, error, CloseCode.connectionLimit);
      return;
    }
    if (!connection.open) {
      leave();
      return;
    }
    // Things may have changed while the register was asked.
    const current = this.#reviewed(identity);
    if (current === undefined) {
      leave();
      this.#reject(connection, INVALID_TOKEN, CloseCode.authInvalid);
      return;
    }
    peer.leave = leave;
    this.#admission.authenticated(connection.address);
    count(this.#users, identity.userId, 1);
    // Spread, so that those who came at once are not all pinged at once for ever.
    connection.pingAt = performance.now() + Math.random() * pingIntervalMs;
    peer.session = new Session(connection, current, this.#context);
    peer.session.welcome(id);
    if (this.#outage.standing) connection.send(STORE_AWAY);
    this.#logger.debug({ connection: connection.id, user: identity.userId, address: connection.address }, "connected");
    const early = peer.early ?? [];
    peer.early = undefined;
    for (const [bytes, isBinary] of early) this.#receive(peer, bytes, isBinary);
  }

  /** @returns undefined when it is good no more */
  #reviewed(identity: TokenIdentity): TokenIdentity | undefined {
    try {
      return this.#options.review?.(identity) ?? identity;
    } catch (error) {
      if (!(error instanceof InvalidTokenError)) throw error;
      return undefined;
    }
  }

  #keepEarly({ connection, early }: Peer, bytes: MessageBytes, isBinary: boolean): void {
    if (early !== undefined && early.length < MAX_EARLY_FRAMES) early.push([bytes, isBinary]);
    else this.#reject(connection, "Too many messages before the answer to the first", CloseCode.protocolError);
  }

  #tellOutage(): void {
    if (!this.#outage.begins(performance.now())) return;
    for (const { connection, session } of this.#peers.values()) {
      if (session !== undefined && connection.open) connection.send(STORE_AWAY);
    }
  }

  #refuse(address: string, target: "http" | "socket", outcome: string): void {
    this.#options.audit.refuse({ action: "connect", who: "unknown", address, target, outcome });
  }

  /** What anybody can cause is in the audit log, which bounds it; here it would be a line for each. */
  #reject(connection: Connection, error: string, code: CloseCode): void {
    this.#refuse(connection.address, "socket", `${code} ${error}`);
    this.#logger.debug({ connection: connection.id, address: connection.address, code, reason: error }, "not admitted");
    connection.send({ type: "auth_error", error, code });
    connection.close(code, error);
  }

  #closed({ connection, session, leave }: Peer, code: number): void {
    this.#peers.delete(connection.id);
    leave?.();
    this.#admission.leave(connection.address, session !== undefined);
    if (session !== undefined) {
      count(this.#users, session.identity.userId, -1);
      session.close();
    }
    const known = connection.closedWith ?? (COUNTED_CODES.has(code) ? code : "other");
    count(this.#closes, String(known), 1);
    const why = WHY_CLOSED.get(known) ?? "its connection was closed without a close frame, or with another code";
    this.#logger.debug({ connection: connection.id, user: session?.identity.userId, code: known, why }, "disconnected");
    if (this.#peers.size === 0) this.#onEmpty?.();
  }

  /** Grants are sets and functions; those who hold the same permissions share them. */
  #grantsOf(permissions: readonly string[]): Grants {
    // Whatever is in a permission, no two sets are taken for one.
    const key = JSON.stringify(permissions.toSorted());
    let grants = this.#grants.get(key);
    if (grants === undefined) {
      if (this.#grants.size >= MAX_KEPT_GRANTS) this.#grants.clear();
      grants = this.#options.grantsOf(permissions);
      this.#grants.set(key, grants);
    }
    return grants;
  }
}
