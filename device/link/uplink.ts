import { connect, type IClientOptions, type MqttClient } from "mqtt";
import type { Logger } from "pino";
import type { Link } from "../../contract/events.ts";
import type { BackoffOptions } from "../../platform/backoff.ts";
import { messageOf } from "../../platform/errors.ts";
import { settledWithin } from "../host/delay.ts";
import type { Outbox, OutboxEntry } from "../outbox/outbox.ts";
import { CongestionControl, type Flight } from "./congestion-control.ts";
import { encodeEnvelope, sealEnvelope } from "./envelope.ts";
import { describeLinkFailure } from "./link-failure.ts";
import { PreviewShrinker } from "./preview-shrinker.ts";
import { ReconnectPolicy } from "./reconnect-policy.ts";

/** How many publishes may wait for a PUBACK. After a broken link, all of them are sent again. */
export const MAX_IN_FLIGHT = 16;
/**
 * How many publishes of the backlog may wait for a PUBACK. This is fewer, so that there is always room for new
 * messages.
 */
const MAX_BACKLOG_IN_FLIGHT = 12;
/**
 * Seconds without a packet before a ping. The broker closes the connection after 1.5 times as long [MQTT-3.1.2-24], and
 * reports the camera as offline after a grace period. A ping costs about 160 bytes with TCP/IP: 7 MB a month at 60 s.
 */
export const DEFAULT_KEEPALIVE_S = 60;
const DEFAULT_CONNECT_TIMEOUT_MS = 30_000;
/** The camera reconnects when no message in flight was acknowledged for this long. */
const DEFAULT_ACK_TIMEOUT_MS = 30_000;
/** Limits of the steps of `stop`. A supervisor allows more than their sum. */
const DRAIN_TIMEOUT_MS = 500;
const FAREWELL_TIMEOUT_MS = 500;
const DISCONNECT_TIMEOUT_MS = 300;
/** Longer before a sleep: a sleeping camera without a farewell would be reported as lost. */
const SLEEP_DRAIN_TIMEOUT_MS = 5000;
const SLEEP_FAREWELL_TIMEOUT_MS = 10_000;

export interface UplinkOptions {
  brokerUrl: string;
  /** Never changes, so that the server notices two devices with one id: each ends the other's connection. */
  clientId: string;
  username: string;
  password: string;
  linkTopic: string;
  linkEvent: (status: Link["status"]) => string;
  session: string;
  outbox: Outbox;
  /** A subscription and its listener. Default: none. */
  inbound?: { filter: string; onMessage: (topic: string, payload: Buffer) => void };
  /** The topic for reports about dropped and quarantined messages. Default: no reports. */
  reportTopic?: (event: ReportEvent) => string;
  /** Called after the birth's PUBACK, before the first message of the outbox. */
  onUp?: () => void;
  reconnect: BackoffOptions;
  keepaliveS?: number;
  ackTimeoutMs?: number;
  /** From opening a connection to CONNACK. Default {@link DEFAULT_CONNECT_TIMEOUT_MS}. */
  connectTimeoutMs?: number;
  now: () => Date;
  logger: Logger;
}

type ReportEvent = "outbox.dropped" | "error.occurred";

/**
 * The link to the broker during one boot: birth, will, reconnects, and the messages of the outbox through a window of
 * unacknowledged publishes.
 *
 * ```
 *   waiting ──timer──▶ connecting ──CONNACK, SUBACK, birth's PUBACK──▶ up ──stop()──▶ stopped
 *      ▲                   │                                            │
 *      └───────────────────┴────────── the connection closed ───────────┘
 * ```
 *
 * Every connection is a new MQTT.js client with a clean session: a session would be a second queue beside the outbox, in
 * MQTT.js and in the broker. Commands need no session: the backend stores them and sends them to connected cameras only.
 */
export class Uplink {
  readonly #options: UplinkOptions;
  #client: MqttClient | undefined;
  /** By `performance.now()`; undefined while the link is down. */
  #upSince: number | undefined;
  readonly #reconnectPolicy: ReconnectPolicy;
  #reconnectTimer: NodeJS.Timeout | undefined;
  #ackTimer: NodeJS.Timeout | undefined;
  readonly #inFlight = new Set<OutboxEntry>();
  /** New for each connection, which may take another route. */
  #congestion = new CongestionControl();
  readonly #shrinker = new PreviewShrinker();
  #onDrained: (() => void) | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: UplinkOptions) {
    this.#options = options;
    this.#reconnectPolicy = new ReconnectPolicy(options.reconnect);
  }

  get up(): boolean {
    return this.#upSince !== undefined;
  }

  open(): void {
    const { brokerUrl, clientId, username, password, outbox } = this.#options;
    const { connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS, keepaliveS = DEFAULT_KEEPALIVE_S } = this.#options;
    if (this.#stopping !== undefined) return;
    outbox.onReady(() => this.pump());
    const options: IClientOptions = {
      protocolVersion: 4,
      clientId,
      username,
      password,
      clean: true,
      keepalive: keepaliveS,
      connectTimeout: connectTimeoutMs,
      reconnectPeriod: 0,
      queueQoSZero: false,
      resubscribe: false,
      will: { ...this.#linkMessage({ status: "offline" }), qos: 1, retain: true },
    };
    const client = connect(brokerUrl, options);
    this.#client = client;
    client.on("connect", () => void this.#connected(client));
    client.on("message", (topic, payload) => this.#options.inbound?.onMessage(topic, payload));
    let failure: Error | undefined;
    client.on("error", (error) => {
      failure = error;
    });
    // Follows every error, and is the only event when the broker just closes the connection.
    client.on("close", () => this.#disconnected(client, true, failure, false));
  }

  pump(): void {
    const { outbox } = this.#options;
    const client = this.#client;
    if (!this.up || client === undefined) return;
    this.#report();
    while (this.#inFlight.size < MAX_IN_FLIGHT) {
      const entry = outbox.take((candidate) => this.#fits(candidate));
      if (entry === undefined) break;
      this.#send(client, entry);
    }
    if (this.#inFlight.size === 0 && outbox.fresh === 0) this.#onDrained?.();
  }

  /**
   * Sends new messages for a moment, publishes the farewell and disconnects: within about 1.3 s, or 16 s before a
   * sleep. Unsent messages stay in the outbox. Idempotent.
   */
  stop(farewell: Omit<Link, "session">): Promise<void> {
    this.#stopping ??= this.#stop(farewell);
    return this.#stopping;
  }

  #fits(entry: OutboxEntry): boolean {
    if (entry.backlog && (this.#stopping !== undefined || this.#inFlight.size >= MAX_BACKLOG_IN_FLIGHT)) return false;
    return this.#congestion.allows(this.#sizeOf(entry), entry);
  }

  #sizeOf({ message: { kind, topic, body } }: OutboxEntry): number {
    return topic.length + (kind === "preview" ? Math.min(body.length, this.#congestion.maxPreviewBytes) : body.length);
  }

  #send(client: MqttClient, entry: OutboxEntry): void {
    const { kind, topic, body } = entry.message;
    this.#inFlight.add(entry);
    this.#armAckTimer(client);
    if (typeof body === "string") this.#publish(client, entry, sealEnvelope(body, entry));
    else if (kind === "preview" && (body.length > this.#congestion.maxPreviewBytes || this.#shrinker.has(topic)))
      void this.#publishShrunk(client, entry, asBuffer(body));
    else this.#publish(client, entry, asBuffer(body));
  }

  async #publishShrunk(client: MqttClient, entry: OutboxEntry, jpeg: Buffer): Promise<void> {
    const congestion = this.#congestion;
    const flight = congestion.sent(this.#sizeOf(entry));
    const shrunk = await this.#shrinker.shrink(entry.message.topic, jpeg, congestion.maxPreviewBytes);
    congestion.cancelled(flight);
    if (client === this.#client && this.#inFlight.has(entry)) this.#publish(client, entry, shrunk);
  }

  #publish(client: MqttClient, entry: OutboxEntry, payload: string | Buffer): void {
    const { topic, retain } = entry.message;
    const flight: Flight = this.#congestion.sent(topic.length + payload.length);
    // A historical message must not replace the newer retained one.
    const options = { qos: 1, retain: retain && !entry.historical } as const;
    client.publish(topic, payload, options, (error) => {
      // Ignore a late callback of a closed connection: its entry was released, and may be in flight on the next
      // connection.
      if (client !== this.#client || !this.#inFlight.has(entry)) return;
      if (error != null) return this.#cut(client, error.message, true);
      this.#congestion.acknowledged(flight);
      this.#inFlight.delete(entry);
      this.#shrinker.forget(topic);
      this.#armAckTimer(client);
      void this.#options.outbox.acknowledge(entry);
      this.pump();
    });
  }

  async #connected(client: MqttClient): Promise<void> {
    const { inbound, logger, onUp, session } = this.#options;
    this.#armAckTimer(client, { waiting: true });
    try {
      // Subscribe before the birth is published, because commands may arrive as soon as the camera is online.
      if (inbound !== undefined) {
        const grants = await client.subscribeAsync(inbound.filter, { qos: 1 });
        if (grants.some((grant) => grant.qos === 128)) logger.error("subscription to commands refused by the broker");
      }
      if (this.#stopping !== undefined) return;
      const { topic, payload } = this.#linkMessage({ status: "online" });
      await client.publishAsync(topic, payload, { qos: 1, retain: true });
    } catch (error) {
      return this.#cut(client, messageOf(error));
    }
    if (client !== this.#client || !client.connected || this.#stopping !== undefined) return;
    this.#upSince = performance.now();
    this.#congestion = new CongestionControl();
    this.#options.outbox.connected();
    this.#armAckTimer(client);
    logger.info({ session }, "link up");
    onUp?.();
    this.pump();
  }

  /** @param cut the camera closed the connection, and has logged why */
  #disconnected(client: MqttClient, byPeer: boolean, failure: Error | undefined, cut: boolean): void {
    if (client !== this.#client) return;
    const { brokerUrl, logger } = this.#options;
    const lastedMs = this.#upSince === undefined ? undefined : performance.now() - this.#upSince;
    this.#client = undefined;
    this.#upSince = undefined;
    clearTimeout(this.#ackTimer);
    if (lastedMs !== undefined)
      logger.info(failure === undefined || cut ? {} : { reason: describeLinkFailure(failure) }, "link down");
    else if (!cut && this.#stopping === undefined)
      logger.warn({ broker: brokerUrl, reason: describeLinkFailure(failure) }, "link failed");
    this.#inFlight.clear();
    this.#options.outbox.release(byPeer);
    this.#onDrained?.();
    if (this.#stopping !== undefined) return;
    const { waitMs, closedInARow } = this.#reconnectPolicy.after({ lastedMs, error: failure });
    if (closedInARow !== undefined)
      logger.warn(
        { times: closedInARow, nextTryS: Math.ceil(waitMs / 1000) },
        "the server closes the link soon after it comes up: another device uses this camera id, or the server refuses a message (its log says which); each device needs its own CAMERA_ID",
      );
    this.#reconnectTimer = setTimeout(() => this.open(), waitMs);
  }

  /** Closes without DISCONNECT, so that the broker publishes the will if the camera stays away. */
  #cut(client: MqttClient, reason: string, byPeer = false): void {
    if (client !== this.#client) return;
    this.#options.logger.warn({ reason }, "link cut");
    client.end(true);
    this.#disconnected(client, byPeer, byPeer ? undefined : new Error(reason), true);
  }

  #armAckTimer(client: MqttClient, { waiting = this.#inFlight.size > 0 } = {}): void {
    clearTimeout(this.#ackTimer);
    if (!waiting) return;
    const afterMs = this.#options.ackTimeoutMs ?? DEFAULT_ACK_TIMEOUT_MS;
    this.#ackTimer = setTimeout(() => this.#cut(client, `nothing was acknowledged for ${afterMs} ms`), afterMs);
  }

  #report(): void {
    const { outbox, reportTopic, logger } = this.#options;
    if (reportTopic === undefined) return;
    const dropped = outbox.takeDropped();
    if (dropped !== undefined) {
      const data = { count: dropped.count, from: dropped.from.toISOString(), to: dropped.to.toISOString() };
      logger.warn(data, "messages dropped: the outbox was full, or they were too old");
      this.#putReport("outbox.dropped", reportTopic("outbox.dropped"), data);
    }
    for (const topic of outbox.takeQuarantined()) {
      logger.error({ topic }, "message quarantined for an hour: the broker closes the connection whenever it is sent");
      const error = `the server closes the connection whenever a message on ${topic} is sent (its log says why); retried in an hour`;
      this.#putReport("error.occurred", reportTopic("error.occurred"), { source: "outbox", error });
    }
  }

  #putReport(event: ReportEvent, topic: string, data: object): void {
    const { outbox, now, session } = this.#options;
    const at = now();
    const body = encodeEnvelope({ event, data, at, session });
    void outbox.put({ topic, kind: "report", retain: false, at, body });
  }

  /** A message about the link. It bypasses the outbox and has no number, because a will may be published much later. */
  #linkMessage(status: Omit<Link, "session">): { topic: string; payload: Buffer } {
    const { linkTopic, linkEvent, session, now } = this.#options;
    const data: Link = { ...status, session };
    const at = now();
    const envelope = encodeEnvelope({ event: linkEvent(status.status), data, at, session });
    return { topic: linkTopic, payload: Buffer.from(sealEnvelope(envelope, { seq: undefined, at })) };
  }

  async #stop(farewell: Omit<Link, "session">): Promise<void> {
    clearTimeout(this.#reconnectTimer);
    const client = this.#client;
    const sleeps = farewell.status === "sleeping";
    if (client !== undefined && this.up)
      await settledWithin(sleeps ? SLEEP_DRAIN_TIMEOUT_MS : DRAIN_TIMEOUT_MS, this.#drained());
    // Publish the farewell even before the birth's PUBACK: the broker may already have the birth, and the camera would
    // seem online for ever.
    if (client?.connected) {
      const { topic, payload } = this.#linkMessage(farewell);
      const timeoutMs = sleeps ? SLEEP_FAREWELL_TIMEOUT_MS : FAREWELL_TIMEOUT_MS;
      await settledWithin(timeoutMs, client.publishAsync(topic, payload, { qos: 1, retain: true }));
    }
    this.#upSince = undefined;
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    this.#inFlight.clear();
    this.#options.outbox.release(false);
    if (client !== undefined) await disconnect(client);
  }

  /** Resolves when no new message waits or is in flight. */
  #drained(): Promise<void> {
    if (this.#inFlight.size === 0 && this.#options.outbox.fresh === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onDrained = resolve;
      this.pump();
    });
  }
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** DISCONNECT makes the broker discard the will [MQTT-3.14.4-3]. */
async function disconnect(client: MqttClient): Promise<void> {
  if (!client.connected) return void client.end(true);
  // `end` would wait for every unacknowledged publish. The outbox still has these messages.
  for (const messageId of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(messageId));
  await settledWithin(DISCONNECT_TIMEOUT_MS, client.endAsync());
  client.stream.destroy();
}
