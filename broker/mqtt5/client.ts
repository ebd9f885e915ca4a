import type { Duplex } from "node:stream";
import type { BrokerClient, EndReason } from "../access/broker-client.ts";
import type { ByteReader } from "./byte-reader.ts";
import { type ClientSettings, settingsOf } from "./client-settings.ts";
import type { Deliveries } from "./deliveries.ts";
import { encodeAcknowledgement, encodeConnack, encodeDisconnect } from "./encode.ts";
import { Output } from "./output.ts";
import { PacketFramer } from "./packet-framer.ts";
import { ProtocolError, ReasonCode } from "./reason-codes.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { IncomingAliases } from "./topic-aliases.ts";
import type { Will } from "./will.ts";

/** Packets of a client that are not answered yet. Above this, nothing more is read. */
const MAX_UNANSWERED = 512;
/** After DISCONNECT, the client has this time to close the connection. */
const LINGER_MS = 250;

/** The reason codes and strings of DISCONNECT for each reason. */
const ENDS: Record<EndReason, readonly [ReasonCode, string]> = {
  "taken-over": [ReasonCode.sessionTakenOver, "a newer connection has the session"],
  revoked: [ReasonCode.notAuthorized, "the permissions, token or secret of this client have changed or ended"],
  "token-expired": [ReasonCode.connectTimeExceeded, "the token has expired: connect with a new one"],
  "session-ended": [ReasonCode.administrativeAction, "the session was discarded"],
  reconnect: [ReasonCode.serverBusy, "the server has missed messages: connect again, the session continues"],
  stopping: [ReasonCode.serverShuttingDown, "the server is stopping"],
};

export interface ClientHandlers {
  /** @throws {ProtocolError} */
  packet(client: Mqtt5Client, type: number, flags: number, body: ByteReader): void;
  /** The client's input or link has failed. */
  failed(client: Mqtt5Client, error: Error): void;
  closed(client: Mqtt5Client): void;
}

/**
 * A connection of an MQTT 5 client.
 *
 * ```
 *  new ──CONNECT──▶ connecting ──CONNACK──▶ connected ──▶ closed
 *   └───────────────────┴──────refused or failed───────────▲
 * ```
 */
export class Mqtt5Client implements BrokerClient {
  id = "";
  clean = true;
  readonly conn: Duplex;
  readonly output: Output;
  state: "new" | "connecting" | "connected" | "closed" = "new";
  settings: ClientSettings = settingsOf({});
  readonly aliases = new IncomingAliases();
  /** The message ids of QoS 2 publications of this connection between PUBREC and PUBREL. */
  readonly receiving = new Set<number>();
  deliveries: Deliveries | undefined;
  subscriptions: Subscriptions | undefined;
  /** Sends the retained messages of new subscriptions. */
  retained: { wake(): void } | undefined;
  will: Will | undefined;
  /** The client has sent a DISCONNECT that discards its will. */
  dropsWill = false;
  readonly #handlers: ClientHandlers;
  readonly #framer = new PacketFramer();
  #unanswered = 0;
  #isReading = false;
  #keepaliveTimer: NodeJS.Timeout | undefined;

  constructor(conn: Duplex, handlers: ClientHandlers) {
    this.conn = conn;
    this.#handlers = handlers;
    this.output = new Output(conn, { onDrained: () => this.deliveries?.wake() });
  }

  /** Begins to read. */
  start(): void {
    const { conn } = this;
    conn.on("readable", this.read);
    conn.on("error", (error) => this.#handlers.failed(this, error));
    conn.once("end", () => this.close());
    conn.once("close", () => this.close());
  }

  get closed(): boolean {
    return this.state === "closed";
  }

  /** Reads until the client has to wait, or nothing is left. */
  readonly read = (): void => {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#mayRead && this.#readPacket());
    } catch (error) {
      this.fail(error);
    }
    this.#isReading = false;
    // The end of the connection is noticed when everything was read.
    if (this.closed) while (this.conn.read() !== null);
  };

  get #mayRead(): boolean {
    return this.state === "new" || (this.state === "connected" && this.#unanswered < MAX_UNANSWERED);
  }

  /** @returns false when there is nothing to read */
  #readPacket(): boolean {
    const packet = this.#framer.next();
    if (packet === undefined) {
      const chunk: unknown = this.conn.read();
      if (!Buffer.isBuffer(chunk)) return false;
      this.#framer.add(chunk);
      this.#keepaliveTimer?.refresh();
      return true;
    }
    this.#handlers.packet(this, packet.type, packet.flags, packet.body);
    return true;
  }

  /** The answer to a packet takes longer. Call {@link answered} once. */
  answerLater(): void {
    this.#unanswered++;
  }

  answered(): void {
    if (this.#unanswered-- === MAX_UNANSWERED) setImmediate(this.read);
  }

  /** Awaits the answer to a packet. The connection ends if the answer fails. */
  answer(task: Promise<void>): void {
    this.answerLater();
    task.then(
      () => this.answered(),
      (error: unknown) => {
        this.answered();
        this.fail(error);
      },
    );
  }

  /** CONNACK is sent. */
  connected(keepaliveS: number): void {
    this.state = "connected";
    if (keepaliveS > 0) {
      // [MQTT-3.1.2-22]
      const expired = () => this.fail(new ProtocolError(ReasonCode.keepAliveTimeout, "keep alive timeout"));
      this.#keepaliveTimer = setTimeout(expired, keepaliveS * 1500);
    }
    setImmediate(this.read);
  }

  /** Sends PUBACK, PUBREC, PUBREL or PUBCOMP, with a reason string if the client wants one and has room for it. */
  acknowledge(type: number, messageId: number, reasonCode = 0, reason?: string): void {
    if (this.closed) return;
    const { wantsProblemInformation } = this.settings;
    this.sendWithReason(wantsProblemInformation ? reason : undefined, (why) =>
      encodeAcknowledgement(type, messageId, reasonCode, why),
    );
  }

  /** Leaves out the reason string if the packet is too large with it [MQTT-3.2.2-19] [MQTT-3.14.2-3]. */
  sendWithReason(reason: string | undefined, encode: (reason?: string) => Buffer): void {
    const { maximumPacketSize } = this.settings;
    let packet = encode(reason);
    if (packet.length > maximumPacketSize && reason !== undefined) packet = encode();
    if (packet.length <= maximumPacketSize) this.output.send(packet);
    else this.conn.destroy(new Error(`a packet of ${packet.length} bytes is larger than the client allows`));
  }

  /** An answer has failed, or the client has broken the protocol: tells the client why, and closes. */
  fail(error: unknown): void {
    if (this.closed) return;
    const isProtocolError = error instanceof ProtocolError;
    this.#handlers.failed(this, error instanceof Error ? error : new Error(String(error)));
    if (isProtocolError) this.end(error.reasonCode, error.message);
    else if (this.state === "connected") this.end(ReasonCode.serverBusy, "the server could not answer: connect again");
    else this.end(ReasonCode.serverUnavailable, "the server could not answer: try again later");
  }

  endFor(reason: EndReason): void {
    const [reasonCode, why] = ENDS[reason];
    // A CONNACK has no such reason codes.
    this.end(this.state === "connected" ? reasonCode : ReasonCode.serverUnavailable, why);
  }

  /** Sends DISCONNECT, or a refusing CONNACK before the client is connected, and closes. */
  end(reasonCode: number, reason: string): void {
    if (this.closed) return;
    if (this.state === "connected") this.sendWithReason(reason, (why) => encodeDisconnect(reasonCode, why));
    else this.sendWithReason(reason, (why) => encodeConnack({ reasonCode, reason: why }));
    this.#close(true);
  }

  close(): void {
    this.#close(false);
  }

  #close(isPolite: boolean): void {
    if (this.closed) return;
    this.state = "closed";
    clearTimeout(this.#keepaliveTimer);
    this.#handlers.closed(this);
    this.output.flush();
    const { conn } = this;
    if (!isPolite || conn.destroyed) conn.destroy();
    else {
      // Destroying a connection with unread input would take back what was sent.
      const timer = setTimeout(() => conn.destroy(), LINGER_MS);
      conn.once("close", () => clearTimeout(timer));
      conn.end();
      this.read();
    }
  }
}
