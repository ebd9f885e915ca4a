import { connect, type IClientOptions, type IConnackPacket, type MqttClient } from "mqtt";
import type { Logger } from "pino";
import { backoffMs } from "../../../platform/backoff.ts";
import { messageOf } from "../../../platform/errors.ts";
import type { OutsideBrokerConfig } from "./config.ts";
import { connectionFailure, connectOptions } from "./connect-options.ts";

/** The bounds of the wait before a connection. The jitter spreads the nodes of a broker that restarts. */
const RECONNECT = { minMs: 100, maxMs: 10_000 };
/** A connection that lasted this long was no failure: the next wait is short again. */
const STABLE_MS = 10_000;
/** How long the end of a connection waits for the broker. */
const END_TIMEOUT_MS = 300;

export interface ConnectionOptions {
  config: OutsideBrokerConfig;
  clientId: string;
  /** Added to the options of MQTT.js, such as the session's expiry. */
  mqtt?: IClientOptions;
  /** Called before the broker can send anything. */
  onOpen?: (client: MqttClient) => void;
  /** Called after each CONNACK. @param isResumed the broker still had the session of this client id */
  onUp?: (client: MqttClient, isResumed: boolean) => void;
  /** Called once for each {@link onOpen}, when the connection has ended or could not be made. */
  onDown?: (reason: string) => void;
  logger: Logger;
}

/**
 * A connection to the other broker, made again whenever it ends.
 *
 * ```
 *   waiting ──timer──▶ connecting ──CONNACK──▶ up
 *      ▲                    │                  │
 *      └── it failed, or ended, or was cut ────┘        stop() ends each state
 * ```
 *
 * Every connection is a new MQTT.js client, so that none has packets of an earlier one.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  #client: MqttClient | undefined;
  /** By `performance.now()`; undefined while the connection is not up. */
  #upSince: number | undefined;
  #attempt = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  /** Connections that were made since the start. */
  connections = 0;
  /** Why there is no connection. Undefined while there is one. */
  downReason: string | undefined = "the server has not connected yet";

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** The client while the connection is up. */
  get client(): MqttClient | undefined {
    return this.#upSince === undefined ? undefined : this.#client;
  }

  open(): void {
    if (this.#isStopped) return;
    const { config, clientId, mqtt, onOpen } = this.#options;
    let client: MqttClient;
    try {
      client = connect(config.url, { ...connectOptions(config, clientId), ...mqtt });
    } catch (error) {
      this.#down(messageOf(error));
      return;
    }
    this.#client = client;
    onOpen?.(client);
    client.on("connect", ({ sessionPresent }: IConnackPacket) => this.#up(client, sessionPresent));
    let failure: string | undefined;
    client.on("error", (error) => {
      failure = connectionFailure(error);
    });
    client.on("disconnect", ({ reasonCode }) => {
      if (reasonCode === SESSION_TAKEN_OVER)
        failure = `another client uses the client id ${clientId}: give each installation its own MQTT_CLIENT_ID`;
    });
    // Follows every error, and is the only event when the broker just closes the connection.
    client.on("close", () => this.#closed(client, failure ?? connectionFailure(undefined)));
  }

  /** Ends the connection and makes a new one. The broker sends everything that it got no acknowledgement for again. */
  cut(reason: string): void {
    const client = this.#client;
    if (client === undefined) return;
    client.end(true);
    this.#closed(client, reason);
  }

  /** Ends the connection with DISCONNECT. The session stays. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = undefined;
    this.#upSince = undefined;
    if (client === undefined) return;
    if (!client.connected) return void client.end(true);
    // `end` would wait for every unacknowledged publication.
    for (const messageId of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(messageId));
    const late = new Promise((resolve) => setTimeout(resolve, END_TIMEOUT_MS));
    await Promise.race([client.endAsync().catch(() => {}), late]);
    client.stream.destroy();
  }

  #up(client: MqttClient, isResumed: boolean): void {
    if (client !== this.#client) return;
    const { config, clientId, onUp, logger } = this.#options;
    this.#upSince = performance.now();
    this.connections++;
    this.downReason = undefined;
    logger.info({ broker: config.place, clientId }, "connected to the MQTT broker");
    onUp?.(client, isResumed);
  }

  #closed(client: MqttClient, reason: string): void {
    if (client !== this.#client) return;
    const { onDown } = this.#options;
    if (this.#upSince !== undefined && performance.now() - this.#upSince > STABLE_MS) this.#attempt = 0;
    this.#client = undefined;
    this.#upSince = undefined;
    this.#down(reason);
    onDown?.(reason);
  }

  #down(reason: string): void {
    const { config, clientId, logger } = this.#options;
    // One line for each reason: attempts may fail for days.
    if (reason !== this.downReason && !this.#isStopped)
      logger.warn({ broker: config.place, clientId, reason }, "no connection to the MQTT broker, retrying");
    this.downReason = reason;
    if (!this.#isStopped) this.#timer = setTimeout(() => this.open(), backoffMs(this.#attempt++, RECONNECT));
  }
}

/** MQTT 5, section 3.14.2.1. */
const SESSION_TAKEN_OVER = 0x8e;
