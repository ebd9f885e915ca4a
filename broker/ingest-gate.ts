import type { Client, PublishPacket } from "aedes";
import type { Logger } from "pino";
import { NotAcceptedError } from "./errors.ts";
import type { ForwardingBroker } from "./forwarding-broker.ts";

/** A publication by an MQTT client that passed authentication and topic access. */
export interface IncomingPublication {
  /** `device:north`, `user:alice`; the will of a client that is gone still names it. */
  identity: string;
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
}

/** What became of a publication. */
export interface Accepted {
  /** To be handed to {@link Ingest.emitted}; undefined when nothing waits for that. */
  position: number | undefined;
  /** False for a repetition: to be acknowledged only. */
  forward: boolean;
  /** It comes late, from a backlog: it goes to who is subscribed now, and replaces no retained message. */
  historical?: boolean;
}

/** Where a publication becomes durable, before it is acknowledged. */
export interface Ingest {
  /**
   * Resolves when the publication is durable: only then is it acknowledged and forwarded. Rejects with an error whose
   * `permanent` is true when the publication is the sender's fault, and sending it again would change nothing.
   */
  accept(publication: IncomingPublication): Promise<Accepted>;
  /** MQTT subscribers and their queues have been given the publication. */
  emitted(position: number): void;
}

export interface IngestGateOptions {
  broker: ForwardingBroker;
  ingest: Ingest;
  /** Whether the store knows a QoS 2 message id of the client, its PUBREL still to come. */
  isIncoming(clientId: string, messageId: number): boolean;
  logger: Logger;
}

type Callback = (error?: Error | null) => void;

/** Holds back the acknowledgement of a publication until it is durable. */
export class IngestGate {
  readonly #options: IngestGateOptions;
  /** QoS 2 publications between their arrival and their place in the store, by client and message id. */
  readonly #arriving = new Map<string, Promise<unknown>>();
  #accepting = 0;
  /** Publications that were not accepted since one was; the log speaks at the first and at the end. */
  #failures = 0;
  notAccepted = 0;
  /** Publications that ingest refused for what they are. */
  refused = 0;

  constructor(options: IngestGateOptions) {
    this.#options = options;
  }

  /** Publications that are on their way into the journal. */
  get accepting(): number {
    return this.#accepting;
  }

  /** @param client null for the will of a client of an earlier run */
  pass(client: Client | null, identity: string, packet: PublishPacket, callback: Callback): void {
    const id = client === null || packet.qos !== 2 ? undefined : packet.messageId;
    if (client !== null && id !== undefined) {
      this.#passOnce(client, identity, packet, id, callback);
    } else if (packet.qos === 0 && !packet.retain) {
      // Nobody waits for QoS 0: Aedes forwards it now, the journal has it when it has it.
      void this.#passUnwaited(identity, packet);
      callback(null);
    } else {
      void this.#passDurably(client, identity, packet, callback);
    }
  }

  /** A QoS 2 publication that is sent again before its PUBREL is the same one: it is not accepted a second time [MQTT-4.3.3-2]. */
  #passOnce(client: Client, identity: string, packet: PublishPacket, messageId: number, callback: Callback): void {
    if (this.#options.isIncoming(client.id, messageId)) {
      this.#options.broker.skip(packet);
      callback(null);
      return;
    }
    const key = `${client.id}\n${messageId}`;
    const arriving = this.#arriving.get(key);
    if (arriving !== undefined) {
      // Its connection broke and is back already. What became of the first decides.
      void arriving.then(() => this.#passOnce(client, identity, packet, messageId, callback));
      return;
    }
    const passing = this.#passDurably(client, identity, packet, callback)
      // Aedes enters it in the store within this turn of the event loop.
      .then(() => new Promise((resolve) => setImmediate(resolve)))
      .finally(() => this.#arriving.delete(key));
    this.#arriving.set(key, passing);
  }

  async #passUnwaited(identity: string, packet: PublishPacket): Promise<void> {
    const { ingest } = this.#options;
    this.#accepting++;
    try {
      const { position } = await ingest.accept(publicationOf(identity, packet));
      this.#accepted();
      if (position !== undefined) ingest.emitted(position);
    } catch (error) {
      this.#failed(identity, packet, error);
    } finally {
      this.#accepting--;
    }
  }

  async #passDurably(
    client: Client | null,
    identity: string,
    packet: PublishPacket,
    callback: Callback,
  ): Promise<void> {
    const { broker, ingest, logger } = this.#options;
    let accepted: Accepted;
    this.#accepting++;
    try {
      accepted = await ingest.accept(publicationOf(identity, packet));
      this.#accepted();
    } catch (cause) {
      this.#failed(identity, packet, cause);
      callback(new NotAcceptedError("the publication is not accepted: it is not acknowledged", { cause }));
      return;
    } finally {
      this.#accepting--;
    }
    const { position, forward, historical } = accepted;
    if (historical) packet.retain = false;
    // DUP speaks of one way of the message only: the next begins anew [MQTT-3.3.1-3].
    packet.dup = false;
    const start = forward
      ? broker.forward(packet, (error) => {
          if (error !== undefined) logger.error({ err: error, topic: packet.topic }, "a publication was not forwarded");
          else if (position !== undefined) ingest.emitted(position);
        })
      : undefined;
    if (!forward) {
      broker.skip(packet);
      if (position !== undefined) ingest.emitted(position);
    }
    // A clean session that ended meanwhile has no use for an acknowledgement, nor for a message id in the store.
    if (client === null || packet.qos < 2 || !client.closed || !client.clean) callback(null);
    start?.();
  }

  #accepted(): void {
    if (this.#failures === 0) return;
    this.#options.logger.info({ refused: this.#failures }, "publications are accepted again");
    this.#failures = 0;
  }

  #failed(identity: string, { topic }: PublishPacket, error: unknown): void {
    if (error instanceof Error && "permanent" in error && error.permanent === true) {
      this.refused++;
      this.#options.logger.warn({ identity, topic, why: error.message }, "a publication is refused");
      return;
    }
    this.notAccepted++;
    if (this.#failures++ > 0) return;
    this.#options.logger.error(
      { err: error },
      "publications cannot be made durable: they are not acknowledged and their senders are disconnected",
    );
  }
}

function publicationOf(identity: string, { topic, payload, qos, retain }: PublishPacket): IncomingPublication {
  return { identity, topic, payload: typeof payload === "string" ? Buffer.from(payload) : payload, qos, retain };
}
