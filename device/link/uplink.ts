import { connect, type IClientOptions, type MqttClient } from "mqtt";
import type { Logger } from "pino";
import type { Link } from "../../contract/events.ts";
import type { BackoffOptions } from "../../platform/backoff.ts";
import type { Outbox, OutboxEntry } from "../outbox/outbox.ts";
import { CongestionControl, type Flight } from "./congestion-control.ts";
import { encodeEnvelope, sealEnvelope } from "./envelope.ts";
import { linkTrouble } from "./link-trouble.ts";
import { Reconnects } from "./reconnects.ts";
import { SmallerPictures } from "./smaller-pictures.ts";

/** The most publishes that wait for their PUBACK at once: what a cut link costs to send again. */
export const MAX_IN_FLIGHT = 16;
/** Of these the backlog leaves some to what is new. */
const MAX_BACKLOG_IN_FLIGHT = 12;
/**
 * Seconds without a packet after which the camera sends a ping. The broker takes it for lost after 1.5 times as many
 * [MQTT-3.1.2-24]; a link that dies without a word is called offline after that and the server's grace. A ping costs
 * about 160 bytes with TCP/IP: 7 MB a month at 60 s.
 */
export const DEFAULT_KEEPALIVE_S = 60;
export const DEFAULT_CONNECT_TIMEOUT_MS = 30_000;
/** A broker that acknowledges nothing for this long, while something waits, is left for a new connection. */
export const DEFAULT_ACK_TIMEOUT_MS = 30_000;
/** The three steps of leaving. Together they stay below what a supervisor waits before it kills. */
const DRAIN_MS = 500;
/** Of a camera that goes to sleep: nobody waits for that, and what it has not said it says hours later. */
const SLEEP_DRAIN_MS = 5000;
const FAREWELL_MS = 500;
/** That a camera sleeps is worth waiting for: without it the camera would be taken for lost. */
const SLEEP_FAREWELL_MS = 10_000;
const DISCONNECT_MS = 300;

export interface UplinkOptions {
  /** `mqtt://`, `mqtts://`, `ws://` or `wss://`. */
  brokerUrl: string;
  /** The same at every boot: two devices with one id are then seen to take each other's place. */
  clientId: string;
  username: string;
  password: string;
  /** The topic of birth, will and farewell. */
  linkTopic: string;
  /** The event name that goes with a link's status. */
  linkEvent: (status: Link["status"]) => string;
  session: string;
  outbox: Outbox;
  /** What to listen to, and who listens. Default: nothing. */
  inbound?: { filter: string; onMessage: (topic: string, payload: Buffer) => void };
  /** Where to report what became of messages, by the event's name. Default: nowhere. */
  reportTopic?: (event: "outbox.dropped" | "error.occurred") => string;
  /** Called at every birth, after it was acknowledged and before the outbox flows. */
  onUp?: () => void;
  reconnect: BackoffOptions;
  /** Default {@link DEFAULT_KEEPALIVE_S}. */
  keepaliveS?: number;
  /** Milliseconds. Default {@link DEFAULT_ACK_TIMEOUT_MS}. */
  ackTimeoutMs?: number;
  /** From the opening of a connection to the broker's word, milliseconds. Default {@link DEFAULT_CONNECT_TIMEOUT_MS}. */
  connectTimeoutMs?: number;
  now: () => Date;
  logger: Logger;
}

/**
 * One boot's link to the broker: birth, will, the outbox through a window of unacknowledged publishes, reconnects.
 *
 * ```
 *   waiting ──timer──▶ connecting ──CONNACK, SUBACK, birth's PUBACK──▶ up ──stop()──▶ stopped
 *      ▲                   │                                            │
 *      └───────────────────┴────────── the connection closed ───────────┘
 * ```
 *
 * Every connection is a new MQTT.js client with a clean session: neither MQTT.js nor the broker then keeps a second
 * queue beside ours. Commands need none either: the backend keeps them and sends them to a connected camera only.
 */
export class Uplink {
  readonly #options: UplinkOptions;
  #client: MqttClient | undefined;
  /** Since when the link is up, by `performance.now()`. */
  #upSince: number | undefined;
  readonly #reconnects: Reconnects;
  #retry: NodeJS.Timeout | undefined;
  #ackTimer: NodeJS.Timeout | undefined;
  readonly #inFlight = new Set<OutboxEntry>();
  /** Of this connection: the next one may lead over another way. */
  #pace = new CongestionControl();
  readonly #pictures = new SmallerPictures();
  #whenIdle: (() => void) | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: UplinkOptions) {
    this.#options = options;
    this.#reconnects = new Reconnects(options.reconnect);
  }

  /** True from the birth's PUBACK until the connection closes. */
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
      will: { ...this.#link({ status: "offline" }), qos: 1, retain: true },
    };
    const client = connect(brokerUrl, options);
    this.#client = client;
    client.on("connect", () => void this.#arrive(client));
    client.on("message", (topic, payload) => this.#options.inbound?.onMessage(topic, payload));
    let trouble: Error | undefined;
    client.on("error", (error) => {
      trouble = error;
    });
    // It follows every error, and comes alone when the other side just hangs up.
    client.on("close", () => this.#lost(client, { byPeer: true, trouble }));
  }

  /** Sends what the outbox holds, as far as the window goes. Call it after every `put`. */
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
    if (this.#inFlight.size === 0 && outbox.fresh === 0) this.#whenIdle?.();
  }

  /**
   * Waits a moment for what is new to be sent, says goodbye, disconnects. What is left stays in the outbox.
   * At most some 1.3 s, 16 s before a sleep; idempotent.
   */
  stop(farewell: Omit<Link, "session">): Promise<void> {
    this.#stopping ??= this.#stop(farewell);
    return this.#stopping;
  }

  #fits(entry: OutboxEntry): boolean {
    // A farewell does not wait for a backlog, which would only go on at the next link.
    if (entry.backlog && (this.#stopping !== undefined || this.#inFlight.size >= MAX_BACKLOG_IN_FLIGHT)) return false;
    return this.#pace.allows(this.#sizeOf(entry), entry);
  }

  /** About what it takes on the way. */
  #sizeOf({ message: { kind, topic, body } }: OutboxEntry): number {
    return topic.length + (kind === "preview" ? Math.min(body.length, this.#pace.pictureBytes) : body.length);
  }

  #send(client: MqttClient, entry: OutboxEntry): void {
    const { kind, topic, body } = entry.message;
    this.#inFlight.add(entry);
    this.#armAckTimer(client);
    if (typeof body === "string") this.#publish(client, entry, sealEnvelope(body, entry));
    else if (kind === "preview" && (body.length > this.#pace.pictureBytes || this.#pictures.has(topic)))
      void this.#publishSmaller(client, entry, asBuffer(body));
    else this.#publish(client, entry, asBuffer(body));
  }

  async #publishSmaller(client: MqttClient, entry: OutboxEntry, jpeg: Buffer): Promise<void> {
    const pace = this.#pace;
    const flight = pace.sent(this.#sizeOf(entry));
    const smaller = await this.#pictures.smaller(entry.message.topic, jpeg, pace.pictureBytes);
    pace.givenUp(flight);
    if (client === this.#client && this.#inFlight.has(entry)) this.#publish(client, entry, smaller);
  }

  #publish(client: MqttClient, entry: OutboxEntry, payload: string | Buffer): void {
    const { topic, retain } = entry.message;
    const flight: Flight = this.#pace.sent(topic.length + payload.length);
    // What is late must not become what is retained.
    const options = { qos: 1, retain: retain && !entry.historical } as const;
    client.publish(topic, payload, options, (error) => {
      // A late word from a connection that is gone: the entry was released and may be in flight on the next one.
      if (client !== this.#client || !this.#inFlight.has(entry)) return;
      if (error != null) return this.#cut(client, error.message, true);
      this.#pace.acknowledged(flight);
      this.#inFlight.delete(entry);
      this.#pictures.forget(topic);
      this.#armAckTimer(client);
      void this.#options.outbox.acknowledge(entry);
      this.pump();
    });
  }

  async #arrive(client: MqttClient): Promise<void> {
    const { inbound, logger, onUp, session } = this.#options;
    this.#armAckTimer(client, { waiting: true });
    try {
      // Before the birth: once a camera is online, commands may come at any moment.
      if (inbound !== undefined) {
        const grants = await client.subscribeAsync(inbound.filter, { qos: 1 });
        if (grants.some((grant) => grant.qos === 128)) logger.error("the broker refused the subscription to commands");
      }
      if (this.#stopping !== undefined) return;
      const { topic, payload } = this.#link({ status: "online" });
      await client.publishAsync(topic, payload, { qos: 1, retain: true });
    } catch (error) {
      return this.#cut(client, error instanceof Error ? error.message : String(error));
    }
    if (client !== this.#client || !client.connected || this.#stopping !== undefined) return;
    this.#upSince = performance.now();
    this.#pace = new CongestionControl();
    this.#options.outbox.connected();
    this.#armAckTimer(client);
    logger.info({ session }, "link up");
    onUp?.();
    this.pump();
  }

  /** @param cut we ended it, and have said why */
  #lost(
    client: MqttClient,
    { byPeer, trouble, cut = false }: { byPeer: boolean; trouble?: Error | undefined; cut?: boolean },
  ): void {
    if (client !== this.#client) return;
    const { brokerUrl, logger } = this.#options;
    const lastedMs = this.#upSince === undefined ? undefined : performance.now() - this.#upSince;
    this.#client = undefined;
    this.#upSince = undefined;
    clearTimeout(this.#ackTimer);
    if (lastedMs !== undefined)
      logger.info(trouble === undefined || cut ? {} : { reason: linkTrouble(trouble) }, "link down");
    else if (!cut && this.#stopping === undefined)
      logger.warn({ broker: brokerUrl, reason: linkTrouble(trouble) }, "link failed");
    this.#inFlight.clear();
    this.#options.outbox.release(byPeer);
    this.#whenIdle?.();
    if (this.#stopping !== undefined) return;
    const { waitMs, endedInARow } = this.#reconnects.after({ lastedMs, error: trouble });
    if (endedInARow !== undefined)
      logger.warn(
        { times: endedInARow, nextTryS: Math.ceil(waitMs / 1000) },
        "the server ends the link soon after it comes up: another device uses this camera id, or the server refuses a message (its log says which); each device needs a CAMERA_ID of its own",
      );
    this.#retry = setTimeout(() => this.open(), waitMs);
  }

  /** Without a word, so that the broker publishes the will if we do not come back. */
  #cut(client: MqttClient, reason: string, byPeer = false): void {
    if (client !== this.#client) return;
    this.#options.logger.warn({ reason }, "link cut");
    client.end(true);
    this.#lost(client, { byPeer, trouble: byPeer ? undefined : new Error(reason), cut: true });
  }

  #armAckTimer(client: MqttClient, { waiting = this.#inFlight.size > 0 } = {}): void {
    clearTimeout(this.#ackTimer);
    if (!waiting) return;
    const afterMs = this.#options.ackTimeoutMs ?? DEFAULT_ACK_TIMEOUT_MS;
    this.#ackTimer = setTimeout(() => this.#cut(client, `nothing was acknowledged for ${afterMs} ms`), afterMs);
  }

  #report(): void {
    const { outbox, reportTopic, now, session, logger } = this.#options;
    if (reportTopic === undefined) return;
    const report = (event: Parameters<typeof reportTopic>[0], data: object) => {
      const at = now();
      const body = encodeEnvelope({ event, data, at, session });
      void outbox.put({ topic: reportTopic(event), kind: "report", retain: false, at, body });
    };
    const dropped = outbox.takeDropped();
    if (dropped !== undefined) {
      const data = { count: dropped.count, from: dropped.from.toISOString(), to: dropped.to.toISOString() };
      logger.warn(data, "messages dropped: the outbox was full, or they were in it for too long");
      report("outbox.dropped", data);
    }
    for (const topic of outbox.takeAside()) {
      logger.error({ topic }, "the broker ends the connection whenever this message is sent: put aside for an hour");
      const error = `the server ends the connection whenever a message on ${topic} is sent: its log says why; tried again in an hour`;
      report("error.occurred", { source: "outbox", error });
    }
  }

  /** Links go around the outbox, so they carry no number: a will is sealed early and sent late. */
  #link(status: Omit<Link, "session">): { topic: string; payload: Buffer } {
    const { linkTopic, linkEvent, session, now } = this.#options;
    const data: Link = { ...status, session };
    const at = now();
    const envelope = encodeEnvelope({ event: linkEvent(status.status), data, at, session });
    return { topic: linkTopic, payload: Buffer.from(sealEnvelope(envelope, { seq: undefined, at })) };
  }

  async #stop(farewell: Omit<Link, "session">): Promise<void> {
    clearTimeout(this.#retry);
    const client = this.#client;
    const sleeps = farewell.status === "sleeping";
    if (client !== undefined && this.up) await within(sleeps ? SLEEP_DRAIN_MS : DRAIN_MS, this.#idle());
    // Even when no PUBACK has come for the birth: the broker may have it, and would keep us online for ever.
    if (client?.connected) {
      const { topic, payload } = this.#link(farewell);
      const ms = sleeps ? SLEEP_FAREWELL_MS : FAREWELL_MS;
      await within(ms, client.publishAsync(topic, payload, { qos: 1, retain: true }));
    }
    this.#upSince = undefined;
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    this.#inFlight.clear();
    this.#options.outbox.release(false);
    if (client !== undefined) await disconnect(client);
  }

  #idle(): Promise<void> {
    if (this.#inFlight.size === 0 && this.#options.outbox.fresh === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
      this.pump();
    });
  }
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Sends DISCONNECT, with which the broker forgets the will [MQTT-3.14.4-3]; destroys the socket when that takes too long. */
async function disconnect(client: MqttClient): Promise<void> {
  if (!client.connected) {
    client.end(true);
    return;
  }
  // `end` would wait for every unacknowledged publish; the outbox keeps those.
  for (const messageId of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(messageId));
  await within(DISCONNECT_MS, client.endAsync());
  client.stream.destroy();
}

/** Settles when `work` does, or after `ms`; a failure counts as an end. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work.catch(() => {}), limit]);
  clearTimeout(timer);
}
