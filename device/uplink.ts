import { connect, type IClientOptions, type MqttClient } from "mqtt";
import type { Logger } from "pino";
import type { Link } from "../contract/events.ts";
import { type BackoffOptions, backoffMs } from "./backoff.ts";
import { encodeEnvelope, withSeq } from "./envelope.ts";
import type { Outbox, OutboxEntry } from "./outbox.ts";

/** The most publishes that wait for their PUBACK at once: what a cut link costs to send again. */
export const MAX_IN_FLIGHT = 16;
/** Seconds after which the broker takes a silent camera for lost is 1.5 times this [MQTT-3.1.2-24]. */
const KEEPALIVE_S = 30;
const CONNECT_TIMEOUT_MS = 30_000;
/** A broker that acknowledges nothing for this long, while something waits, is left for a new connection. */
export const DEFAULT_ACK_TIMEOUT_MS = 30_000;
/** The three steps of leaving. Together they stay below what a supervisor waits before it kills. */
const DRAIN_MS = 500;
const FAREWELL_MS = 500;
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
  /** Where to report what the outbox had to drop. Default: nowhere. */
  droppedTopic?: string;
  /** Called at every birth, after it was acknowledged and before the outbox flows. */
  onUp?: () => void;
  reconnect: BackoffOptions;
  /** Milliseconds. Default {@link DEFAULT_ACK_TIMEOUT_MS}. */
  ackTimeoutMs?: number;
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
  #up = false;
  #attempt = 0;
  #retry: NodeJS.Timeout | undefined;
  #ackTimer: NodeJS.Timeout | undefined;
  readonly #inFlight = new Set<OutboxEntry>();
  #whenIdle: (() => void) | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: UplinkOptions) {
    this.#options = options;
  }

  /** True from the birth's PUBACK until the connection closes. */
  get up(): boolean {
    return this.#up;
  }

  open(): void {
    const { brokerUrl, clientId, username, password, logger } = this.#options;
    if (this.#stopping !== undefined) return;
    const options: IClientOptions = {
      protocolVersion: 4,
      clientId,
      username,
      password,
      clean: true,
      keepalive: KEEPALIVE_S,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      queueQoSZero: false,
      resubscribe: false,
      will: { ...this.#link({ status: "offline" }), qos: 1, retain: true },
    };
    const client = connect(brokerUrl, options);
    this.#client = client;
    client.on("connect", () => void this.#arrive(client));
    client.on("message", (topic, payload) => this.#options.inbound?.onMessage(topic, payload));
    // "close" follows every error; this says why, without the password that options carry.
    client.on("error", (error) => logger.warn({ reason: error.message }, "link failed"));
    client.on("close", () => this.#lost(client));
  }

  /** Sends what the outbox holds, as far as the window goes. Call it after every `put`. */
  pump(): void {
    const { outbox } = this.#options;
    const client = this.#client;
    if (!this.#up || client === undefined) return;
    this.#reportDropped();
    while (this.#inFlight.size < MAX_IN_FLIGHT) {
      const entry = outbox.take();
      if (entry === undefined) break;
      this.#publish(client, entry);
    }
    if (this.#inFlight.size === 0) this.#whenIdle?.();
  }

  /**
   * Waits a moment for the outbox to empty, says goodbye, disconnects. What is left stays in the outbox.
   * At most some 1.3 s; idempotent.
   */
  stop(farewell: Omit<Link, "session">): Promise<void> {
    this.#stopping ??= this.#stop(farewell);
    return this.#stopping;
  }

  #publish(client: MqttClient, entry: OutboxEntry): void {
    const { message, seq } = entry;
    const { body, topic, retain } = message;
    const payload =
      typeof body === "string"
        ? seq === undefined
          ? body
          : withSeq(body, seq)
        : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    this.#inFlight.add(entry);
    this.#armAckTimer(client);
    client.publish(topic, payload, { qos: 1, retain }, (error) => {
      // A late word from a connection that is gone: the entry was released and may be in flight on the next one.
      if (client !== this.#client || !this.#inFlight.has(entry)) return;
      if (error != null) return this.#cut(client, error.message);
      this.#inFlight.delete(entry);
      this.#armAckTimer(client);
      void this.#options.outbox.acknowledge(entry).then(() => this.pump());
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
    this.#up = true;
    this.#attempt = 0;
    this.#armAckTimer(client);
    logger.info({ session }, "link up");
    onUp?.();
    this.pump();
  }

  #lost(client: MqttClient): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    if (this.#up) this.#options.logger.info("link down");
    this.#up = false;
    this.#inFlight.clear();
    this.#options.outbox.release();
    this.#whenIdle?.();
    if (this.#stopping !== undefined) return;
    const waitMs = backoffMs(this.#attempt++, this.#options.reconnect);
    this.#retry = setTimeout(() => this.open(), waitMs);
  }

  /** Without a word, so that the broker publishes the will if we do not come back. */
  #cut(client: MqttClient, reason: string): void {
    if (client !== this.#client) return;
    this.#options.logger.warn({ reason }, "link cut");
    client.end(true);
    this.#lost(client);
  }

  #armAckTimer(client: MqttClient, { waiting = this.#inFlight.size > 0 } = {}): void {
    clearTimeout(this.#ackTimer);
    if (!waiting) return;
    const afterMs = this.#options.ackTimeoutMs ?? DEFAULT_ACK_TIMEOUT_MS;
    this.#ackTimer = setTimeout(() => this.#cut(client, `nothing was acknowledged for ${afterMs} ms`), afterMs);
  }

  #reportDropped(): void {
    const { outbox, droppedTopic, now, session, logger } = this.#options;
    const dropped = droppedTopic === undefined ? undefined : outbox.takeDropped();
    if (dropped === undefined || droppedTopic === undefined) return;
    const data = { count: dropped.count, from: dropped.from.toISOString(), to: dropped.to.toISOString() };
    logger.warn(data, "outbox was full, messages dropped");
    const at = now();
    const body = encodeEnvelope({ event: "outbox.dropped", data, at, session });
    void outbox.put({ topic: droppedTopic, kind: "report", retain: false, at, body });
  }

  /** Links go around the outbox, so they carry no number: a will is sealed early and sent late. */
  #link(status: Omit<Link, "session">): { topic: string; payload: Buffer } {
    const { linkTopic, linkEvent, session, now } = this.#options;
    const data: Link = { ...status, session };
    const envelope = encodeEnvelope({ event: linkEvent(status.status), data, at: now(), session });
    return { topic: linkTopic, payload: Buffer.from(envelope) };
  }

  async #stop(farewell: Omit<Link, "session">): Promise<void> {
    clearTimeout(this.#retry);
    const client = this.#client;
    if (client !== undefined && this.#up) await within(DRAIN_MS, this.#idle());
    // Even when no PUBACK has come for the birth: the broker may have it, and would keep us online for ever.
    if (client?.connected) {
      const { topic, payload } = this.#link(farewell);
      await within(FAREWELL_MS, client.publishAsync(topic, payload, { qos: 1, retain: true }));
    }
    this.#up = false;
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    this.#inFlight.clear();
    this.#options.outbox.release();
    if (client !== undefined) await disconnect(client);
  }

  #idle(): Promise<void> {
    if (this.#inFlight.size === 0 && this.#options.outbox.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
      this.pump();
    });
  }
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
