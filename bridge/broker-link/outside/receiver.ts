import type { IClientOptions, IPublishPacket, ISubscriptionMap, MqttClient } from "mqtt";
import type { Logger } from "pino";
import { ulid } from "ulid";
import { LeaseLostError, messageOf } from "../../../platform/errors.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import type { IncomingPublication } from "../../../platform/publications.ts";
import type { Fence } from "../../cluster/cluster.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import type { OutsideBrokerConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import { ORIGIN_PROPERTY } from "./origin.ts";

/** MQTT 5: how many publications the broker sends before it waits for acknowledgements. Mosquitto's own limit is 20. */
const RECEIVE_MAXIMUM = 1_000;
/** The bytes of a publication besides its payload: a topic has at most 64 KiB, and properties are rarely larger. */
const HEAD_BYTES = 131_072;
/** The backlog is taken for read when the check has not come back, and nothing else has come, for this long. */
const QUIET_MS = 5_000;
/** The reason codes of a SUBACK from here on are failures. */
const SUBSCRIPTION_REFUSED = 0x80;

/** What the server reads at the broker: names of topics, by what they are for. */
export interface InwardTopics {
  /** The filters of everything that cameras and services publish. */
  filters: readonly string[];
  /** The topic on which the server publishes to itself, to learn that it has read everything before. */
  check: string;
  /** The publication's identity and whether it is a state; undefined if the backend itself publishes on the topic. */
  read(topic: string): { identity: string; isState: boolean; camera: string | undefined } | undefined;
}

export interface ReceiverOptions {
  config: OutsideBrokerConfig;
  clientId: string;
  /** How long the broker keeps the session without a connection, seconds. */
  sessionExpiryS: number;
  /** The largest payload that the server accepts. `Infinity`: no limit. */
  maxPayloadBytes: number;
  topics: InwardTopics;
  /** The mark of the server's own publications. */
  origin: string;
  /** Resolves when the publication is durable. @throws an error that is `permanent`: it is refused for ever */
  accept: (publication: IncomingPublication, fence: Fence) => Promise<unknown>;
  /** Whether the journal already has this publication as the state of its topic. */
  isCurrentState: (publication: IncomingPublication) => boolean;
  fence: Fence;
  onUp: (client: MqttClient, isResumed: boolean) => void;
  onDown: () => void;
  /** Everything that waited at the broker has been read. @param links cameras that the broker knows, after a new session */
  onCurrent: (links: string[] | undefined) => void;
  onRefused: (publication: IncomingPublication, error: Error) => void;
  /** The lease is lost: another node receives. */
  onLeaseLost: () => void;
  logger: Logger;
}

/** Receives what cameras and services publish at the other broker, in a session that all nodes share. */
export class Receiver {
  readonly #options: ReceiverOptions;
  readonly connection: Connection;
  readonly #limitedLog = new LimitedLog();
  #acknowledgements: Acknowledgements | undefined;
  /** The payload of the check that is under way. */
  #check: string | undefined;
  /** Cameras whose links arrived before the check; undefined if the session was resumed. */
  #links: Set<string> | undefined;
  #quietTimer: NodeJS.Timeout | undefined;
  readonly #counts = { received: 0, skipped: 0, notAccepted: 0, acknowledged: 0 };

  constructor(options: ReceiverOptions) {
    this.#options = options;
    const { config, clientId, logger } = options;
    this.connection = new Connection({
      ...{ config, clientId, logger },
      mqtt: sessionOptions(options),
      onOpen: (client) => this.#opened(client),
      onUp: (client, isResumed) => void this.#up(client, isResumed),
      onDown: () => this.#down(),
    });
  }

  get counts() {
    const acknowledged = this.#counts.acknowledged + (this.#acknowledgements?.acknowledged ?? 0);
    return { ...this.#counts, acknowledged };
  }

  /** Stops reading, waits for the appends under way and acknowledges them, and disconnects. The session stays. */
  async stop(): Promise<void> {
    clearTimeout(this.#quietTimer);
    await this.#acknowledgements?.end();
    await this.connection.stop();
    this.#limitedLog.stop();
  }

  #opened(client: MqttClient): void {
    this.#acknowledgements = new Acknowledgements(client, {
      accept: (packet) => this.#accept(packet),
      onFailed: (error) => {
        this.#counts.notAccepted++;
        if (error instanceof LeaseLostError) this.#options.onLeaseLost();
        else this.connection.cut(`an event could not be stored (${messageOf(error)})`);
      },
    });
  }

  async #up(client: MqttClient, isResumed: boolean): Promise<void> {
    const { topics, onUp } = this.#options;
    this.#links = isResumed ? undefined : new Set();
    this.#check = ulid();
    try {
      await this.#subscribe(client, isResumed);
      if (client !== this.connection.client) return;
      onUp(client, isResumed);
      this.#armQuietTimer();
      await client.publishAsync(topics.check, this.#check, { qos: 1 });
    } catch (error) {
      if (client === this.connection.client) this.connection.cut(`the subscription failed (${messageOf(error)})`);
    }
  }

  async #subscribe(client: MqttClient, isResumed: boolean): Promise<void> {
    const { config, topics } = this.#options;
    // A session of MQTT 3.1.1 keeps its subscriptions. To subscribe again would bring all retained messages, after older
    // messages of the backlog.
    if (isResumed && config.version === 4) return;
    const grants = await client.subscribeAsync(subscriptionsOf(topics));
    const refused = grants.find(({ qos }) => qos >= SUBSCRIPTION_REFUSED);
    if (refused !== undefined) throw new Error(`the broker refuses ${refused.topic}: allow it in the broker's rules`);
  }

  #down(): void {
    clearTimeout(this.#quietTimer);
    this.#counts.acknowledged += this.#acknowledgements?.acknowledged ?? 0;
    this.#acknowledgements = undefined;
    this.#check = undefined;
    this.#options.onDown();
  }

  async #accept(packet: IPublishPacket): Promise<void> {
    const { topics, accept, isCurrentState, fence, onRefused } = this.#options;
    if (this.#check !== undefined) this.#armQuietTimer();
    if (packet.topic === topics.check) return this.#checked(String(packet.payload));
    this.#counts.received++;
    const publication = this.#publicationOf(packet);
    if (publication === undefined) {
      this.#counts.skipped++;
      return;
    }
    // A new session gets what is retained. Messages without an id are not recognised as duplicates.
    if (this.#links !== undefined && this.#check !== undefined && publication.retain && isCurrentState(publication)) {
      this.#counts.skipped++;
      return;
    }
    try {
      await accept(publication, fence);
    } catch (error) {
      if (!(error instanceof Error && "permanent" in error)) throw error;
      onRefused(publication, error);
    }
  }

  /** Undefined for what the server published itself. */
  #publicationOf({ topic, payload, qos, retain, properties }: IPublishPacket): IncomingPublication | undefined {
    const { topics, config, origin } = this.#options;
    const facts = topics.read(topic);
    const from = properties?.userProperties?.[ORIGIN_PROPERTY];
    if (facts === undefined || from === origin) return undefined;
    const { identity, isState, camera } = facts;
    if (camera !== undefined && this.#check !== undefined) this.#links?.add(camera);
    const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
    // A broker of MQTT 3.1.1 does not pass on whether a message is retained [MQTT-3.3.1-9].
    return { identity, topic, payload: bytes, qos, retain: config.version === 5 ? retain : isState };
  }

  #checked(payload: string): void {
    if (payload !== this.#check) return;
    const acknowledgements = this.#acknowledgements;
    acknowledgements?.afterEarlier(() => {
      if (payload === this.#check && acknowledgements === this.#acknowledgements) this.#current();
    });
  }

  #current(): void {
    clearTimeout(this.#quietTimer);
    this.#check = undefined;
    this.#options.onCurrent(this.#links === undefined ? undefined : [...this.#links]);
  }

  #armQuietTimer(): void {
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => {
      this.#options.logger.warn(
        { topic: this.#options.topics.check },
        "the MQTT broker does not return the server's own messages: allow the topic in the broker's rules",
      );
      this.#current();
    }, QUIET_MS);
  }
}

/**
 * With MQTT 5, the broker discards what is larger than the server accepts [MQTT-3.1.2-25]. Otherwise one publication of
 * 256 MB could end the server for lack of memory, and would be sent again after each restart.
 */
function sessionOptions({ config, sessionExpiryS, maxPayloadBytes }: ReceiverOptions): IClientOptions {
  if (config.version === 4) return { clean: false };
  const maximumPacketSize = maxPayloadBytes + HEAD_BYTES;
  const size = Number.isFinite(maximumPacketSize) ? { maximumPacketSize } : {};
  const properties = { sessionExpiryInterval: sessionExpiryS, receiveMaximum: RECEIVE_MAXIMUM, ...size };
  return { clean: false, properties };
}

/**
 * MQTT 5: retained messages come only for a subscription that the session did not have (`rh: 1`), and keep their flag
 * (`rap`). Otherwise an older message of the backlog could come after a newer retained one.
 */
function subscriptionsOf({ filters, check }: InwardTopics): ISubscriptionMap {
  const map: ISubscriptionMap = { [check]: { qos: 1, rh: 2 } };
  for (const filter of filters) map[filter] = { qos: 1, rh: 1, rap: true };
  return map;
}
