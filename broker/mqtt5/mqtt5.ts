import type { Duplex } from "node:stream";
import type { OpenedClient } from "../listeners/connections.ts";
import type { PacketProblem } from "../listeners/packet-meter.ts";
import type { ByteReader } from "./byte-reader.ts";
import { type ClientHandlers, Mqtt5Client } from "./client.ts";
import { PINGRESP } from "./encode.ts";
import { endWill } from "./end-will.ts";
import { handlePuback, handlePubcomp, handlePubrec } from "./handlers/acknowledgements.ts";
import { handleConnect } from "./handlers/connect.ts";
import { handleDisconnect } from "./handlers/disconnect.ts";
import { handlePublish } from "./handlers/publish.ts";
import { handlePubrel } from "./handlers/pubrel.ts";
import { handleSubscribe } from "./handlers/subscribe.ts";
import { handleUnsubscribe } from "./handlers/unsubscribe.ts";
import { PacketType, requiredFlags } from "./packet-types.ts";
import type { Mqtt5Options, Mqtt5Parts } from "./parts.ts";
import { SharedFrames } from "./publish-frame.ts";
import { malformed, ProtocolError, protocolError, ReasonCode } from "./reason-codes.ts";

const PROBLEM_CODES: Record<PacketProblem["kind"], ReasonCode> = {
  "no-connect": ReasonCode.protocolError,
  malformed: ReasonCode.malformedPacket,
  "too-large": ReasonCode.packetTooLarge,
  "too-many-filters": ReasonCode.quotaExceeded,
};

type Handler = (client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts, flags: number) => void;

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [PacketType.connect, handleConnect],
  [PacketType.publish, handlePublish],
  [PacketType.puback, handlePuback],
  [PacketType.pubrec, handlePubrec],
  [PacketType.pubrel, handlePubrel],
  [PacketType.pubcomp, handlePubcomp],
  [PacketType.subscribe, handleSubscribe],
  [PacketType.unsubscribe, handleUnsubscribe],
  [PacketType.pingreq, (client) => client.output.send(PINGRESP)],
  [PacketType.disconnect, handleDisconnect],
  [PacketType.auth, refuseAuth],
]);

/** No CONNECT with an authentication method is accepted [MQTT-4.12.0-6]. */
function refuseAuth(): never {
  throw protocolError("AUTH without an authentication method in CONNECT");
}

/**
 * The clients of MQTT 5, beside those of Aedes on the same broker object, with the same access rules, ingest and sessions.
 * `docs/decisions/mqtt-5.md` says why.
 */
export class Mqtt5 {
  readonly #parts: Mqtt5Parts;
  readonly #open = new Set<Mqtt5Client>();
  readonly #handlers: ClientHandlers;

  constructor(options: Mqtt5Options) {
    this.#parts = { ...options, frames: new SharedFrames() };
    this.#handlers = {
      packet: (client, type, flags, body) => this.#handle(client, type, flags, body),
      failed: (client, error) => options.lifecycle.failed(client, error),
      closed: (client) => this.#closed(client),
    };
  }

  /** Connections that are not closed yet. */
  get open(): number {
    return this.#open.size;
  }

  /** Takes a connection whose reads begin with a CONNECT of MQTT 5. */
  readonly handle = (connection: Duplex): OpenedClient => {
    const client = new Mqtt5Client(connection, this.#handlers);
    this.#open.add(client);
    connection.once("close", () => this.#open.delete(client));
    client.start();
    return { client, refuse: ({ kind, why }) => client.fail(new ProtocolError(PROBLEM_CODES[kind], why)) };
  };

  /** Tells all clients that the server stops, and closes their connections. */
  stop(): void {
    for (const client of this.#open) client.endFor("stopping");
  }

  #handle(client: Mqtt5Client, type: number, flags: number, body: ByteReader): void {
    if (type !== PacketType.publish && flags !== requiredFlags(type))
      throw malformed("the flags of a packet are not those of its type [MQTT-2.1.3-1]");
    const handler = HANDLERS.get(type);
    if (handler === undefined) throw protocolError(`a client must not send packets of type ${type}`);
    handler(client, body, this.#parts, flags);
  }

  #closed(client: Mqtt5Client): void {
    const { deliveries, subscriptions } = client;
    subscriptions?.clear();
    deliveries?.end();
    endWill(client, this.#parts);
    const access = this.#parts.registry.get(client);
    if (access === undefined || !client.clean || this.#parts.registry.isReplaced(client, access)) return;
    this.#parts.storage.cleanIncoming(client).catch((err: unknown) => {
      this.#parts.logger.warn({ err }, "message ids of a clean session could not be removed");
    });
  }
}
