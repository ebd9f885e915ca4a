import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Client } from "aedes";
import type { Admission, Origin } from "../access/admission.ts";
import type { BrokerClient } from "../access/broker-client.ts";
import type { ClientRegistry } from "../access/client-registry.ts";
import type { PacketLimits } from "./packet-meter.ts";
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
  limits: PacketLimits;
  connectTimeoutMs: number;
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

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  originOf(client: BrokerClient): Origin {
    return this.#origins.get(client.conn) ?? { address: "unknown", transport: "tcp" };
  }

  readonly open = (connection: Duplex, origin: Origin, request?: IncomingMessage): void => {
    const { admission, registry, handle, limits } = this.#options;
    if (!admission.awaitConnack(connection, origin.address)) {
      connection.destroy();
      return;
    }
    this.#origins.set(connection, origin);
    const deadline = this.#startDeadline(connection);
    const client = handle(connection, request);
    const stopCounting = throttleReading(connection, {
      socket: request?.socket ?? connection,
      limits,
      clientOf: () => registry.get(client),
      // The error is emitted at once, before Aedes' parser reports another error in the same bytes.
      onProblem: (problem) => client.emit("error", new PacketRefusedError(problem)),
    });
    this.#unauthenticated.set(connection, { deadline, stopCounting });
  };

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
