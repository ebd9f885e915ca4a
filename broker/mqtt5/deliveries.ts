import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { DeliveredPacket } from "../aedes/propertied-packet.ts";
import { LIVE_LOG_ID } from "../aedes/topic-emitter.ts";
import type { SessionDelivery } from "../sessions/session-delivery.ts";
import type { ShareDelivery } from "../sessions/shares/share-client.ts";
import type { DeliveriesOptions, Delivery, LiveDelivery } from "./delivery.ts";
import { type Flight, Flights } from "./flights.ts";
import { encodePublish, headWithId, type PublishFrame } from "./publish-frame.ts";
import type { SessionAttachment } from "./session-attachment.ts";
import type { ShareMembership } from "./share-membership.ts";
import type { Subscription } from "./subscriptions.ts";
import { OutgoingAliases } from "./topic-aliases.ts";

/** Bytes that may be unsent before a session waits. */
const FULL_BYTES = 256 * 1024;
/** The approximate memory of a waiting delivery besides its payload and properties. */
const WAITING_BYTES = 200;

/** Sends messages to a client, at most as many and as large as the client allows. */
export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #aliases: OutgoingAliases;
  readonly #flights = new Flights();
  /** The message ids of the session and of its groups that were sent to this connection. */
  readonly #ofSession = new Set<number>();
  /** Deliveries that wait until the client has acknowledged earlier ones. */
  #waiting: Delivery[] = [];
  #waitingBytes = 0;
  /** A live message that further filters may select. */
  #live: LiveDelivery | undefined;
  #isLiveScheduled = false;
  #onRoom: (() => void)[] = [];
  session: SessionAttachment | undefined;
  shares: ShareMembership | undefined;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.#aliases = new OutgoingAliases(options.settings.topicAliasMaximum);
  }

  /** Whether the session waits, as in `SessionConnection`. */
  get isFull(): boolean {
    return this.#isWindowFull || this.#options.output.unsentBytes > FULL_BYTES;
  }

  /** [MQTT-3.3.4-9] */
  get #isWindowFull(): boolean {
    return this.#flights.size + this.#ofSession.size >= this.#options.settings.receiveMaximum;
  }

  /** A filter selects a live message. Overlapping filters lead to one delivery [MQTT-3.3.4-2] [MQTT-3.3.4-3]. */
  live(subscription: Subscription, packet: DeliveredPacket, isOnly: boolean): void {
    if (subscription.noLocal === true && packet.stored?.publisher === this.#options.access.sessionKey) return;
    const qos = subscription.qos < packet.qos ? subscription.qos : packet.qos;
    const retain = subscription.retainAsPublished === true && packet.retain;
    const { identifier } = subscription;
    if (this.#live?.packet !== packet) {
      this.#flushLive();
      const message = this.#options.frames.messageOf(packet);
      const identifiers = identifier === undefined ? undefined : [identifier];
      const live: LiveDelivery = { packet, message, qos, retain, identifiers };
      if (isOnly) this.#deliverLive(live);
      else this.#holdLive(live);
      return;
    }
    if (qos > this.#live.qos) this.#live.qos = qos;
    this.#live.retain ||= retain;
    if (identifier === undefined) return;
    if (this.#live.identifiers === undefined) this.#live.identifiers = [identifier];
    else this.#live.identifiers.push(identifier);
  }

  #holdLive(live: LiveDelivery): void {
    this.#live = live;
    if (this.#isLiveScheduled) return;
    this.#isLiveScheduled = true;
    queueMicrotask(() => {
      this.#isLiveScheduled = false;
      this.#flushLive();
    });
  }

  #flushLive(): void {
    const live = this.#live;
    this.#live = undefined;
    if (live !== undefined) this.#deliverLive(live);
  }

  #deliverLive(live: LiveDelivery): void {
    const { packet, message } = live;
    const { access, counts } = this.#options;
    if (!access.set.mayReceive(message.topic, message.payload)) return;
    const isLogged = packet.brokerId === LIVE_LOG_ID;
    // The filter grants QoS 0, and the session sends the message if another filter grants QoS 1 or 2.
    if (isLogged && packet.qos > 0 && this.session?.delivers(packet) === true) return;
    if (live.qos > 0) {
      this.#sendTracked(live);
      return;
    }
    if (this.#hasTooMuchUnsent()) {
      counts.shed++;
      if (isLogged) access.liveAbove = packet.brokerCounter;
      return;
    }
    this.#transmit(live, 0, false);
  }

  #hasTooMuchUnsent(): boolean {
    const { output, maxQueuedBytes } = this.#options;
    if (output.unsentBytes <= maxQueuedBytes) return false;
    output.flush();
    return output.unsentBytes > maxQueuedBytes;
  }

  /** A message of a subscription's retained messages. Call it when {@link room} has resolved. */
  retained({ qos, identifier }: Subscription, publication: LoggedPublication): void {
    const identifiers = identifier === undefined ? undefined : [identifier];
    const delivery: Delivery = {
      ...{ message: publication, retain: true, identifiers },
      qos: qos < publication.qos ? qos : publication.qos,
    };
    if (delivery.qos > 0) this.#sendTracked(delivery);
    else this.#transmit(delivery, 0, false);
  }

  /** Resolves when a further message may be sent. */
  room(): Promise<void> | undefined {
    if (!this.isFull) return undefined;
    return new Promise((resolve) => this.#onRoom.push(resolve));
  }

  /** Sends a message with a message id of this connection. */
  #sendTracked(delivery: Delivery): void {
    const { output, maxUnsentBytes, onTooSlow } = this.#options;
    if (this.#isWindowFull || this.#waiting.length > 0) {
      this.#waiting.push(delivery);
      this.#waitingBytes += memoryOf(delivery);
    } else this.#sendNow(delivery);
    const unsentBytes = output.unsentBytes + this.#waitingBytes;
    if (unsentBytes > maxUnsentBytes) onTooSlow(unsentBytes);
  }

  #sendNow(delivery: Delivery): void {
    const { qos, message } = delivery;
    if (qos === 0) return;
    const messageId = this.#freeId();
    // A message that is too large for the client counts as delivered [MQTT-3.1.2-25].
    if (!this.#transmit(delivery, messageId, false)) return;
    this.#flights.add(messageId, qos, this.#options.wantsReceipt(message.topic) ? message : undefined);
  }

  #freeId(): number {
    if (this.session === undefined) return this.#flights.nextId();
    let messageId = this.#options.nextUnloggedId();
    while (this.#flights.has(messageId)) messageId = this.#options.nextUnloggedId();
    return messageId;
  }

  /** Sends a publication of the session. */
  ofSession({ publication: message, qos, messageId, dup, retain, identifiers, onWritten }: SessionDelivery): void {
    const delivery = { message, qos, retain, identifiers: identifiers && [...identifiers] };
    this.#ofSession.add(messageId);
    if (!this.#transmit(delivery, messageId, dup)) {
      this.#ofSession.delete(messageId);
      this.session?.acknowledge(messageId);
    }
    this.#options.output.afterWrite(onWritten);
  }

  /** Sends a publication of a group. */
  ofShare({ publication: message, qos, messageId, dup, options }: ShareDelivery): void {
    const { identifier, retainAsPublished } = options;
    const retain = retainAsPublished === true && message.retain;
    const delivery = { message, qos, retain, identifiers: identifier === undefined ? undefined : [identifier] };
    if (qos > 0) this.#ofSession.add(messageId);
    if (this.#transmit(delivery, messageId, dup) || qos === 0) return;
    this.#ofSession.delete(messageId);
    // In a later turn, because the group is just beginning this delivery.
    setImmediate(() => this.shares?.acknowledge(messageId));
  }

  /** Whether no delivery has this message id. */
  isFree(messageId: number): boolean {
    return !this.#flights.has(messageId) && !this.#ofSession.has(messageId) && this.session?.has(messageId) !== true;
  }

  /** @returns false when the packet would be too large for the client */
  #transmit(delivery: Delivery, messageId: number, dup: boolean): boolean {
    const { output, counts, access } = this.#options;
    const frame = this.#frameOf(delivery, dup);
    if (frame === undefined) return false;
    counts.delivered++;
    access.expectedAcks += delivery.qos;
    output.send(delivery.qos === 0 ? frame.head : headWithId(frame, messageId));
    if (frame.payload.length > 0) output.send(frame.payload);
    return true;
  }

  #frameOf({ message, qos, retain, identifiers }: Delivery, dup: boolean): PublishFrame | undefined {
    const { frames, settings, now } = this.#options;
    const { topic, expiresAt } = message;
    const isPlain = identifiers === undefined && expiresAt === undefined && !dup && settings.topicAliasMaximum === 0;
    // [MQTT-3.3.2-6]
    const expiry = expiresAt === undefined ? undefined : Math.max(0, Math.ceil((expiresAt - now()) / 1000));
    const options = { qos, retain, dup, expiry, identifiers };
    const frame = isPlain ? frames.frameOf(message, qos, retain) : encodePublish(message, options);
    if (frame.length > settings.maximumPacketSize) return undefined;
    const alias = isPlain ? undefined : this.#aliases.aliasOf(topic);
    if (alias === undefined) return frame;
    const aliased = encodePublish(message, { ...options, alias: alias.alias, omitsTopic: alias.isKnown });
    return aliased.length > settings.maximumPacketSize ? frame : aliased;
  }

  /** PUBACK has arrived, or what ends a flight of QoS 2. @returns the message, if a receipt of its topic is wanted */
  acknowledged(messageId: number, qos: 1 | 2): Flight["message"] {
    const flight = this.#flights.close(messageId, qos);
    if (flight !== undefined) {
      this.#next();
      return flight.message;
    }
    this.#ofSession.delete(messageId);
    const shared = this.shares?.acknowledge(messageId);
    const message = shared === undefined ? this.session?.acknowledge(messageId) : shared.publication;
    this.#next();
    return message;
  }

  /** PUBREC has arrived. Resolves when PUBREL may be sent. @returns undefined: the message id is unknown */
  received(messageId: number): Promise<void> | true | undefined {
    const flight = this.#flights.received(messageId);
    if (flight === undefined) return this.shares?.receive(messageId) ?? this.session?.receive(messageId);
    flight.isReleased = true;
    return true;
  }

  /** There may be room for what waits. */
  wake(): void {
    this.#next();
  }

  #next(): void {
    while (this.#waiting.length > 0 && !this.#isWindowFull) this.#sendWaiting();
    if (this.isFull) return;
    for (const resolve of this.#onRoom.splice(0)) resolve();
    this.session?.wake();
    this.shares?.wake();
  }

  #sendWaiting(): void {
    const delivery = this.#waiting.shift();
    if (delivery === undefined) return;
    const { expiresAt } = delivery.message;
    this.#waitingBytes -= memoryOf(delivery);
    if (expiresAt === undefined || expiresAt > this.#options.now()) this.#sendNow(delivery);
  }

  /** The connection has ended. */
  end(): void {
    this.#waiting = [];
    this.#live = undefined;
    for (const resolve of this.#onRoom.splice(0)) resolve();
    this.session?.end();
    this.shares?.end();
  }
}

function memoryOf({ message }: Delivery): number {
  return message.payload.length + (message.properties?.length ?? 0) + WAITING_BYTES;
}
