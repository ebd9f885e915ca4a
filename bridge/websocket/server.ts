import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { type WebSocket, WebSocketServer } from "ws";
import { CloseCode } from "../../contract/codes.ts";
import { MAX_CLIENT_FRAME_BYTES } from "../../contract/socket-messages.ts";
import { plainAddress } from "../../platform/addresses.ts";
import { Delivery, type DeliveryOptions } from "../delivery/delivery.ts";
import type { Journal } from "../journal/journal.ts";
import { Admission, FOREIGN_ORIGIN, refuseUpgrade, STOPPING, type UpgradeRefusal } from "./admission.ts";
import { Authentication, type AuthenticationOptions } from "./authentication.ts";
import { CloseCounts } from "./close-counts.ts";
import { type SocketsConfig, withDefaults } from "./config.ts";
import { Connection } from "./connection.ts";
import { drainConnections } from "./drain.ts";
import { limitEarlyBytes } from "./first-frame.ts";
import { cacheGrants } from "./grants-cache.ts";
import { startHeartbeat } from "./heartbeat.ts";
import type { MessageBytes } from "./messages.ts";
import { OutageNotice, STORE_OUTAGE } from "./outage-notice.ts";
import { Peer } from "./peer.ts";
import { Registry } from "./registry.ts";
import type { SessionContext } from "./session.ts";
import type { ConnectionInfo, Sockets, SocketsStats } from "./sockets.ts";

export interface SocketsOptions
  extends Pick<AuthenticationOptions, "register">,
    Pick<SessionContext, "tokens" | "grantsOf" | "channels" | "commands" | "audit" | "store"> {
  config: SocketsConfig;
  journal: Journal;
  /** Default: identities do not change. */
  review?: AuthenticationOptions["review"];
  /** As {@link DeliveryOptions.onDelivered}. */
  onDelivered?: DeliveryOptions["onDelivered"];
  /** As {@link DeliveryOptions.latest}. */
  latest?: DeliveryOptions["latest"];
  logger: Logger;
}

/** The most fragments of one message, and the most chunks of one frame. Each uses more memory than its bytes. */
const MAX_FRAGMENTS = 1024;
/** How long a client may take to answer a close frame, milliseconds. */
const CLOSE_TIMEOUT_MS = 2_000;
/** How long clients have to answer a close frame when the server stops, milliseconds. */
const STOP_TIMEOUT_MS = 500;

export function startSockets(options: SocketsOptions): Sockets {
  const server = new SocketServer(options);
  server.start();
  return server;
}

/** Accepts upgrades, and passes each message and each end of a connection to the responsible part. */
class SocketServer implements Sockets {
  readonly #options: SocketsOptions;
  readonly #config: Required<SocketsConfig>;
  readonly #logger: Logger;
  readonly #admission: Admission;
  readonly #authentication: Authentication;
  readonly #delivery: Delivery;
  readonly #outage: OutageNotice;
  readonly #webSockets: WebSocketServer;
  readonly #registry = new Registry();
  readonly #subscriptionCounts = new Map<string, number>();
  readonly #closes = new CloseCounts();
  #opened = 0;
  #refused = 0;
  #stopHeartbeat: (() => void) | undefined;
  #draining: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: SocketsOptions) {
    const { journal, store, audit, register, tokens, logger } = options;
    const config = withDefaults(options.config);
    this.#options = options;
    this.#config = config;
    this.#logger = logger;
    this.#admission = new Admission(config);
    this.#outage = new OutageNotice(store.unavailableReason);
    const { maxQueuedBytes, flushIntervalMs } = config;
    const { onDelivered, latest } = options;
    this.#delivery = new Delivery({
      ...{ journal, waitsForStore: store.shared, flushIntervalMs, maxQueuedBytes, onDelivered, latest, logger },
    });
    this.#authentication = new Authentication({
      ...{ tokens, register, audit, admission: this.#admission, outage: this.#outage, limits: config, logger },
      review: options.review ?? ((identity) => identity),
      session: {
        ...config,
        ...options,
        ...{ delivery: this.#delivery, subscriptionCounts: this.#subscriptionCounts },
        grantsOf: cacheGrants(options.grantsOf),
      },
    });
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      // With compression, `ws` would write frames later than asked, and each connection would need more memory.
      perMessageDeflate: false,
      maxPayload: MAX_CLIENT_FRAME_BYTES,
      ...{ maxFragments: MAX_FRAGMENTS, maxBufferedChunks: MAX_FRAGMENTS, closeTimeout: CLOSE_TIMEOUT_MS },
    });
  }

  start(): void {
    this.#delivery.start();
    this.#stopHeartbeat = startHeartbeat({
      timeouts: this.#config,
      peers: this.#registry,
      onAuthTimeout: (connection) => this.#authentication.timeOut(connection),
      tokenNow: () => this.#options.tokens.now(),
      onChecked: () => {
        this.#delivery.evictUnused();
        if (!this.#outage.check(performance.now())) return;
        for (const { connection } of this.#registry.sessions())
          if (connection.open && this.#outage.isNewTo(connection)) connection.send(STORE_OUTAGE);
      },
    });
  }

  admit(socket: Socket): boolean {
    const address = plainAddress(socket.remoteAddress ?? "");
    if (this.#config.isTrustedProxy(address) || this.#admission.admitHttp(socket, address)) return true;
    this.#auditRefusal(address, "http", "too many connections from this address");
    socket.destroy();
    return false;
  }

  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const address = this.#config.addressOf(request);
    const refusal = this.#upgradeRefusal(request, address);
    if (refusal === undefined) {
      this.#webSockets.handleUpgrade(request, socket, head, (ws) => this.#open(ws, socket, address));
      return;
    }
    this.#refused++;
    this.#auditRefusal(address, "socket", `${refusal.status} ${refusal.message}`);
    this.#logger.debug({ address, origin: request.headers.origin, ...refusal }, "upgrade refused");
    refuseUpgrade(socket, refusal);
  }

  connections(): ConnectionInfo[] {
    return this.#registry.connectionInfos();
  }

  stats(): SocketsStats {
    const { fanOut, backfill: catchUp } = this.#delivery.stats();
    const totals = { opened: this.#opened, refused: this.#refused, closes: this.#closes.toJSON() };
    return { ...this.#registry.stats(), fanOut, catchUp, ...totals };
  }

  channelCounts(): Record<string, number> {
    return Object.fromEntries(this.#subscriptionCounts);
  }

  subscribers(channel: string): number {
    return this.#subscriptionCounts.get(channel) ?? 0;
  }

  liveDeliveryOf: Sockets["liveDeliveryOf"] = (entry) => this.#delivery.liveDeliveryOf(entry);

  closeConnection(connectionId: string): boolean {
    const peer = this.#registry.get(connectionId);
    peer?.connection.close(CloseCode.revoked, "closed by an operator");
    return peer !== undefined;
  }

  review(): void {
    for (const session of this.#registry.sessions()) {
      if (!session.connection.open) continue;
      const identity = this.#authentication.review(session.identity);
      if (identity === undefined) session.connection.close(CloseCode.revoked, "the token was revoked");
      else if (identity !== session.identity) session.regrant(identity);
    }
  }

  drain(spreadMs: number): Promise<void> {
    const connections = () => [...this.#registry.values()].map(({ connection }) => connection);
    this.#draining ??= drainConnections(connections, spreadMs, () => this.#stopping !== undefined);
    return this.#draining;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#stopHeartbeat?.();
    this.#delivery.stop();
    await this.#registry.closeAll(CloseCode.shutdown, "the server is stopping", STOP_TIMEOUT_MS);
    this.#webSockets.close();
  }

  #upgradeRefusal(request: IncomingMessage, address: string): UpgradeRefusal | undefined {
    const { origins } = this.#config;
    if (this.#draining !== undefined || this.#stopping !== undefined) return STOPPING;
    if (origins.allows(request)) return this.#admission.refusal(address);
    origins.noteRefusal(request);
    return FOREIGN_ORIGIN;
  }

  #open(ws: WebSocket, socket: Duplex, address: string): void {
    const openedAt = performance.now();
    const connection = new Connection(randomUUID(), { ws, socket, address }, { openedAt, ...this.#config });
    const peer = new Peer(connection);
    this.#registry.add(peer);
    this.#admission.enter(socket, address);
    this.#opened++;
    ws.on("message", (bytes, isBinary) => this.#receive(peer, bytes, isBinary));
    ws.on("ping", () => connection.heard(performance.now()));
    ws.on("pong", () => connection.heard(performance.now()));
    ws.on("close", (code) => this.#closed(peer, code));
    ws.on("error", (error) => this.#logger.debug({ ...connection.names, reason: error.message }, "socket error"));
    socket.on("drain", () => peer.session?.subscriber.drained());
    const isKnown = () => peer.isKnown || !connection.open;
    limitEarlyBytes(socket, isKnown, () => connection.terminate(CloseCode.protocolError, "too much before a token"));
  }

  #receive(peer: Peer, bytes: MessageBytes, isBinary: boolean): void {
    const { connection, session } = peer;
    if (!connection.open) return;
    connection.heard(performance.now());
    try {
      if (session === undefined) this.#authentication.receive(peer, bytes, isBinary);
      else session.receive(bytes, isBinary);
    } catch (error) {
      this.#logger.error({ err: error, ...connection.names }, "message not handled");
      connection.close(CloseCode.internal, "the server failed");
    }
  }

  #closed(peer: Peer, code: number): void {
    const { connection, session, stage } = peer;
    this.#admission.leave(connection.address, session !== undefined);
    if (stage.kind === "authenticated") {
      stage.leave();
      stage.session.close();
    }
    const closed = this.#closes.add(connection.closedWith, code);
    this.#logger.debug({ ...connection.names, ...closed }, "client disconnected");
    this.#registry.remove(peer);
  }

  #auditRefusal(address: string, target: "http" | "socket", outcome: string): void {
    this.#options.audit.refuse({ action: "connect", who: "unknown", address, target, outcome });
  }
}
