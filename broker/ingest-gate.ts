import type { Logger } from "pino";
import { ClientTakenError } from "../platform/errors.ts";
import type { IncomingId, MqttLog } from "../platform/publication-log.ts";
import type { Acceptance, IncomingPublication, Ingest, PermanentRefusal } from "../platform/publications.ts";
import type { RetainedQuota } from "../platform/retained-quota.ts";
import type { PublishCallbacks, Sender } from "./access/authorize-publish.ts";
import type { BrokerClient } from "./access/broker-client.ts";
import { NotAcceptedError } from "./access/errors.ts";
import type { RefusedPublications } from "./access/refused-publications.ts";
import type { EnteredRoom } from "./access/retained-room.ts";
import type { ForwardingBroker } from "./aedes/forwarding-broker.ts";
import type { PropertiedPacket } from "./aedes/propertied-packet.ts";

interface IngestGateOptions {
  broker: ForwardingBroker;
  ingest: Ingest;
  /** For publications that ingest does not know. */
  log: Pick<MqttLog, "append">;
  /** Whether the client has sent a QoS 2 publication with this message id, and not yet the PUBREL. */
  isIncoming(clientId: string, messageId: number): boolean;
  refusedPublications: RefusedPublications;
  logger: Logger;
}

/** Bytes that a message takes in the store in addition to its payload. */
const MESSAGE_OVERHEAD_BYTES = 256;

/** Delays the acknowledgement of each publication until it is durable. */
export class IngestGate {
  readonly #options: IngestGateOptions;
  /** QoS 2 publications whose message id is not in the store yet, by client and message id. */
  readonly #arriving = new Map<string, Promise<unknown>>();
  /** Publications that ingest has not accepted or refused yet. */
  pending = 0;
  /** Consecutive failures. The first one and the recovery are logged. */
  #failures = 0;
  notAccepted = 0;

  constructor(options: IngestGateOptions) {
    this.#options = options;
  }

  submit(client: BrokerClient | null, sender: Sender, packet: PropertiedPacket, callbacks: PublishCallbacks): void {
    if (callbacks.isForeign === true && !isLogged(packet)) {
      packet.dup = false;
      callbacks.room?.leave();
      callbacks.callback(null);
      return;
    }
    const id = client === null || packet.qos !== 2 ? undefined : packet.messageId;
    if (client !== null && id !== undefined) {
      this.#ingestOnce(client, sender, packet, id, callbacks);
    } else if (packet.qos === 0 && !packet.retain && !callbacks.awaitsIngest) {
      // QoS 0 has no acknowledgement, so forwarding does not wait for ingest.
      void this.#ingestInBackground(sender, packet);
      callbacks.callback(null);
    } else {
      void this.#ingest(client, sender, packet, callbacks);
    }
  }

  /** Accepts a QoS 2 publication once, although the client may resend it before the PUBREL [MQTT-4.3.3-2]. */
  #ingestOnce(
    client: BrokerClient,
    sender: Sender,
    packet: PropertiedPacket,
    id: number,
    callbacks: PublishCallbacks,
  ): void {
    if (this.#options.isIncoming(client.id, id)) {
      this.#options.broker.skip(packet);
      callbacks.room?.leave();
      callbacks.callback(null);
      return;
    }
    const key = `${client.id}\n${id}`;
    const arriving = this.#arriving.get(key);
    if (arriving !== undefined) {
      // The client has reconnected and resent the publication. Wait for the outcome of the first copy.
      void arriving.then(() => this.#ingestOnce(client, sender, packet, id, callbacks));
      return;
    }
    const ingesting = this.#ingest(client, sender, packet, callbacks)
      // Aedes stores the message id within this turn of the event loop.
      .then(() => new Promise((resolve) => setImmediate(resolve)))
      .finally(() => this.#arriving.delete(key));
    this.#arriving.set(key, ingesting);
  }

  async #ingestInBackground(sender: Sender, packet: PropertiedPacket): Promise<void> {
    const bytes = this.#begin(sender, packet);
    try {
      await this.#accept(sender, packet);
      this.#recovered();
    } catch (error) {
      if (isPermanent(error)) this.#refuse(sender, packet, error);
      else this.#failed(error);
    } finally {
      this.#end(sender, bytes);
    }
  }

  async #ingest(
    client: BrokerClient | null,
    sender: Sender,
    packet: PropertiedPacket,
    { callback, refused, room, isForeign = false }: Omit<PublishCallbacks, "awaitsIngest">,
  ): Promise<void> {
    const { broker, refusedPublications } = this.#options;
    const bytes = this.#begin(sender, packet);
    let acceptance: Acceptance;
    try {
      const incomingId = incomingIdOf(client, packet);
      acceptance = await this.#accept(sender, packet, { incomingId, isForeign, quota: room?.quota });
      this.#recovered();
    } catch (cause) {
      if (cause instanceof ClientTakenError) {
        this.#recovered();
        this.#options.logger.debug({ err: cause, identity: sender.identity, topic: packet.topic }, "will dropped");
        broker.skip(packet);
        refused(null);
        return;
      }
      if (isPermanent(cause)) {
        this.#refuse(sender, packet, cause);
        broker.skip(packet);
        refused(null);
        return;
      }
      this.#failed(cause);
      callback(new NotAcceptedError("the publication could not be made durable and is not acknowledged", { cause }));
      return;
    } finally {
      this.#end(sender, bytes);
      room?.leave();
    }
    const { forward, historical, notRetained = notRetainedBy(room) } = acceptance;
    if (notRetained !== undefined) {
      packet.notRetained = notRetained;
      refusedPublications.add(sender, packet.topic, { reason: "no_room", why: notRetained });
    }
    if (historical || notRetained !== undefined) packet.retain = false;
    // The publisher's DUP flag is not passed on: each transmission to a subscriber has its own DUP flag [MQTT-3.3.1-3].
    packet.dup = false;
    // Subscribers follow the log, which has called them.
    if (!forward || isLogged(packet)) broker.skip(packet);
    // A clean session that has ended needs no acknowledgement and no stored message id.
    if (client === null || packet.qos < 2 || !client.closed || !client.clean) callback(null);
  }

  async #accept(
    sender: Sender,
    packet: PropertiedPacket,
    { incomingId, isForeign, quota }: Acceptable = {},
  ): Promise<Acceptance> {
    const { ingest, log } = this.#options;
    const publication = publicationOf(sender, packet, incomingId);
    publication.quota = quota;
    if (isForeign !== true) return await ingest.accept(publication);
    const { identity: _, ...rest } = publication;
    await log.append(rest);
    return { forward: true };
  }

  /** @returns the sender's pending bytes, for {@link #end} */
  #begin(sender: Sender, { payload, stored }: PropertiedPacket): number {
    const bytes = payload.length + (stored?.properties?.length ?? 0) + MESSAGE_OVERHEAD_BYTES;
    this.pending++;
    sender.rateLimiter?.pending(bytes);
    return bytes;
  }

  #end(sender: Sender, bytes: number): void {
    this.pending--;
    sender.rateLimiter?.settled(bytes);
  }

  #recovered(): void {
    if (this.#failures === 0) return;
    this.#options.logger.info({ failures: this.#failures }, "publications are durable again");
    this.#failures = 0;
  }

  #refuse(sender: Sender, packet: PropertiedPacket, { reason, message: why }: PermanentRefusal): void {
    this.#recovered();
    packet.refusal = { reason, why };
    this.#options.refusedPublications.add(sender, packet.topic, packet.refusal);
  }

  #failed(error: unknown): void {
    this.notAccepted++;
    if (this.#failures++ > 0) return;
    const { logger } = this.#options;
    logger.error({ err: error }, "publications cannot be made durable: not acknowledged, senders disconnected");
  }
}

/** Whether the publication is in the log once it is accepted. `$` topics are internal. */
function isLogged({ topic, qos, retain }: PropertiedPacket): boolean {
  return (qos > 0 || retain) && !topic.startsWith("$");
}

function isPermanent(error: unknown): error is PermanentRefusal {
  return error instanceof Error && "permanent" in error && error.permanent === true && "reason" in error;
}

interface Acceptable {
  incomingId?: IncomingId | undefined;
  isForeign?: boolean;
  quota?: RetainedQuota | undefined;
}

/** Why the store has not retained the message, although this node had room. */
function notRetainedBy(room: EnteredRoom | undefined): string | undefined {
  const exceeded = room?.quota.exceeded;
  return exceeded === undefined ? undefined : `delivered, but not retained: ${exceeded}`;
}

/** The id is stored with the publication, so that a repetition is known after a crash. Clean sessions end with it. */
function incomingIdOf(client: BrokerClient | null, { qos, messageId }: PropertiedPacket): IncomingId | undefined {
  if (client === null || client.clean || qos !== 2 || messageId === undefined) return undefined;
  return { session: client.id, messageId };
}

function publicationOf(
  { identity, willOf }: Sender,
  { topic, payload, qos, retain, stored }: PropertiedPacket,
  incomingId: IncomingId | undefined,
): IncomingPublication {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  if (stored === undefined) return { identity, topic, payload: bytes, qos, retain, incomingId, willOf };
  const { publisher, expiresAt, properties } = stored;
  return { identity, topic, payload: bytes, qos, retain, incomingId, willOf, publisher, expiresAt, properties };
}
