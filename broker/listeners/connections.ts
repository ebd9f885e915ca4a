import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Client } from "aedes";
import type { Admission, Origin } from "../access/admission.ts";
import type { BrokerClient } from "../access/broker-client.ts";
import type { ClientRegistry } from "../access/client-registry.ts";
import { DrainWatch } from "./drain-watch.ts";
import { MQTT_5, type PacketLimits, type PacketProblem } from "./packet-meter.ts";
import { ProtocolChoice } from "./protocol-choice.ts";
import { throttleReading } from "./throttled-reading.ts";

class PacketRefusedError extends Error {
  override name = "PacketRefusedError";
}

class ConnectTimeoutError extends Error {
  override name = "ConnectTimeoutError";
}

interface ConnectionsOptions {
  admission: Admission;
  registry: ClientRegistry;
  /** Gives the connection to Aedes. */
  handle(connection: Duplex, request: IncomingMessage | undefined): Client;
  /** Takes the connection of an MQTT 5 client. */
  handleMqtt5(connection: Duplex): OpenedClient;
  limits: PacketLimits;
  connectTimeoutMs: number;
  /** A client that reads nothing for this long is disconnected. */
  drainTimeoutMs: number;
}

/** A connection of a client, as its listener sees it. */
export interface OpenedClient {
  readonly client: BrokerClient;
  /** Closes the connection because the client's input exceeds a limit or is malformed. */
  refuse(problem: PacketProblem): void;
}

interface Unauthenticated {
  deadline: NodeJS.Timeout;
  /** Ends the limit on received bytes, which applies until the CONNACK. */
  stopCounting(): void;
}

/** Limits each connection until its CONNACK, and throttles reading from the connection. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #origins = new WeakMap<Duplex, Origin>();
  readonly #unauthenticated = new WeakMap<Duplex, Unauthenticated>();
  readonly #drains: DrainWatch;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#drains = new DrainWatch(options);
  }

  originOf(client: BrokerClient): Origin {
    return this.#origins.get(client.conn) ?? { address: "unknown", transport: "tcp" };
  }

  readonly open = (connection: Duplex, origin: Origin, request?: IncomingMessage): void => {
    const { admission, registry, handle, handleMqtt5, limits } = this.#options;
    if (!admission.awaitConnack(connection, origin.address)) {
      connection.destroy();
      return;
    }
    this.#origins.set(connection, origin);
    const socket = request?.socket ?? connection;
    this.#drains.add(connection, socket);
    const deadline = this.#startDeadline(connection);
    let opened: OpenedClient | undefined;
    const choice = new ProtocolChoice(connection);
    const throttle = throttleReading(connection, {
      socket,
      limits,
      clientOf: () => opened && registry.get(opened.client),
      onProblem: (problem) => {
        choice.end();
        opened ??= this.#ofAedes(connection, request);
        opened.refuse(problem);
      },
    });
    choice.begin({
      throttle,
      onChosen: () => {
        const isMqtt5 = throttle.protocolLevel === MQTT_5;
        opened = isMqtt5 ? handleMqtt5(connection) : this.#ofAedes(connection, request);
      },
      onFailed: (error) => {
        handle(connection, request).emit("error", error);
      },
    });
    this.#unauthenticated.set(connection, { deadline, stopCounting: () => throttle.stopCounting() });
  };

  #ofAedes(connection: Duplex, request: IncomingMessage | undefined): OpenedClient {
    const client = this.#options.handle(connection, request);
    // The error is emitted at once, before Aedes' parser reports another error in the same bytes.
    return { client, refuse: ({ why }) => client.emit("error", new PacketRefusedError(why)) };
  }

  /** The client's CONNACK is sent. */
  accepted(connection: Duplex): void {
    this.#options.admission.authenticated(connection);
    const unauthenticated = this.#unauthenticated.get(connection);
    unauthenticated?.stopCounting();
    clearTimeout(unauthenticated?.deadline);
  }

  /**
   * Needed because Aedes' own timeout stops at the CONNECT: authentication that never finishes would keep the
   * connection open.
   */
  #startDeadline(connection: Duplex): NodeJS.Timeout {
    const { connectTimeoutMs } = this.#options;
    const deadline = setTimeout(() => {
      connection.destroy(new ConnectTimeoutError(`no CONNACK within ${connectTimeoutMs} ms`));
    }, connectTimeoutMs);
    connection.once("close", () => clearTimeout(deadline));
    return deadline;
  }
}
