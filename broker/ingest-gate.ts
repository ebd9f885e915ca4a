import type { Client, PublishPacket } from "aedes";
import type { Logger } from "pino";
import type { Acceptance, IncomingPublication, Ingest, PermanentRefusal } from "../platform/publications.ts";
import type { Answers, Sender } from "./access/authorize.ts";
import type { RefusedPublications } from "./access/refused-publications.ts";
import { NotAcceptedError } from "./aedes/errors.ts";
import type { ForwardingBroker } from "./aedes/forwarding-broker.ts";

export interface IngestGateOptions {
  broker: ForwardingBroker;
  ingest: Ingest;
  /** Whether the store knows a QoS 2 message id of the client, its PUBREL still to come. */
  isIncoming(clientId: string, messageId: number): boolean;
  refused: RefusedPublications;
  logger: Logger;
}

/** What a message costs the store beside its payload, bytes. */
const MESSAGE_OVERHEAD_BYTES = 256;

/** Holds back the acknowledgement of a publication until it is durable. */
export class IngestGate {
  readonly #options: IngestGateOptions;
  /** QoS 2 publications between their arrival and their place in the store, by client and message id. */
  readonly #arriving = new Map<string, Promise<unknown>>();
  #accepting = 0;
  /** Consecutive failures; logged at the first and on recovery. */
  #failures = 0;
  notAccepted = 0;

  constructor(options: IngestGateOptions) {
    this.#options = options;
  }

  /** Publications that are on their way into the journal. */
  get accepting(): number {
    return this.#accepting;
  }

  /** @param client null for the will of a client of an earlier run */
  pass(client: Client | null, sender: Sender, packet: PublishPacket, answers: Answers): void {
    const id = client === null || packet.qos !== 2 ? undefined : packet.messageId;
    if (client !== null && id !== undefined) {
      this.#passOnce(client, sender, packet, id, answers);
    } else if (packet.qos === 0 && !packet.retain && !answers.isLookedAt) {
      // Nobody waits for QoS 0: Aedes forwards it now, the journal has it when it has it.
      void this.#passUnwaited(sender, packet);
      answers.callback(null);
    } else {
      void this.#passDurably(client, sender, packet, answers);
    }
  }

  /** A QoS 2 publication that is sent again before its PUBREL is the same one: it is not accepted a second time [MQTT-4.3.3-2]. */
  #passOnce(client: Client, sender: Sender, packet: PublishPacket, messageId: number, answers: Answers): void {
    if (this.#options.isIncoming(client.id, messageId)) {
      this.#options.broker.skip(packet);
      answers.callback(null);
      return;
    }
    const key = `${client.id}\n${messageId}`;
    const arriving = this.#arriving.get(key);
    if (arriving !== undefined) {
      // Its connection broke and is back already. What became of the first decides.
      void arriving.then(() => this.#passOnce(client, sender, packet, messageId, answers));
      return;
    }
    const passing = this.#passDurably(client, sender, packet, answers)
      // Aedes enters it in the store within this turn of the event loop.
      .then(() => new Promise((resolve) => setImmediate(resolve)))
      .finally(() => this.#arriving.delete(key));
    this.#arriving.set(key, passing);
  }

  async #passUnwaited(sender: Sender, packet: PublishPacket): Promise<void> {
    const { ingest } = this.#options;
    const bytes = this.#begin(sender, packet);
    try {
      const { position } = await ingest.accept(publicationOf(sender.identity, packet));
      this.#accepted();
      if (position !== undefined) ingest.delivered(position);
    } catch (error) {
      if (isPermanent(error)) this.#refuse(sender, packet, error);
      else this.#failed(error);
    } finally {
      this.#end(sender, bytes);
    }
  }

  /** @returns what the publication costs its sender until it is accepted or refused, bytes */
  #begin(sender: Sender, { payload }: PublishPacket): number {
    const bytes = payload.length + MESSAGE_OVERHEAD_BYTES;
    this.#accepting++;
    sender.pace?.pending(bytes);
    return bytes;
  }

  #end(sender: Sender, bytes: number): void {
    this.#accepting--;
    sender.pace?.settled(bytes);
  }

  async #passDurably(
    client: Client | null,
    sender: Sender,
    packet: PublishPacket,
    { callback, refused: acknowledge }: Pick<Answers, "callback" | "refused">,
  ): Promise<void> {
    const { broker, ingest, refused, logger } = this.#options;
    const bytes = this.#begin(sender, packet);
    let accepted: Acceptance;
    try {
      accepted = await ingest.accept(publicationOf(sender.identity, packet));
      this.#accepted();
    } catch (cause) {
      if (isPermanent(cause)) {
        this.#refuse(sender, packet, cause);
        broker.skip(packet);
        acknowledge(null);
        return;
      }
      this.#failed(cause);
      callback(new NotAcceptedError("the publication is not accepted: it is not acknowledged", { cause }));
      return;
    } finally {
      this.#end(sender, bytes);
    }
    const { position, forward, historical, notRetained } = accepted;
    if (notRetained !== undefined) refused.add(sender, packet.topic, { reason: "no_room", why: notRetained });
    if (historical || notRetained !== undefined) packet.retain = false;
    // DUP speaks of one way of the message only: the next begins anew [MQTT-3.3.1-3].
    packet.dup = false;
    const start = forward
      ? broker.forward(packet, (error) => {
          if (error !== undefined) logger.error({ err: error, topic: packet.topic }, "a publication was not forwarded");
          else if (position !== undefined) ingest.delivered(position);
        })
      : undefined;
    if (!forward) {
      broker.skip(packet);
      if (position !== undefined) ingest.delivered(position);
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

  #refuse(sender: Sender, { topic }: PublishPacket, { reason, message: why }: PermanentRefusal): void {
    this.#accepted();
    this.#options.refused.add(sender, topic, { reason, why });
  }

  #failed(error: unknown): void {
    this.notAccepted++;
    if (this.#failures++ > 0) return;
    this.#options.logger.error(
      { err: error },
      "publications cannot be made durable: they are not acknowledged and their senders are disconnected",
    );
  }
}

function isPermanent(error: unknown): error is PermanentRefusal {
  return error instanceof Error && "permanent" in error && error.permanent === true && "reason" in error;
}

function publicationOf(identity: string, { topic, payload, qos, retain }: PublishPacket): IncomingPublication {
  return { identity, topic, payload: typeof payload === "string" ? Buffer.from(payload) : payload, qos, retain };
}
