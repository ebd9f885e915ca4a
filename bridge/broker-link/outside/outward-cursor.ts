import type { MqttClient } from "mqtt";
import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import { type LoggedPublication, type PublicationLog, sizeOf } from "../../../platform/publication-log.ts";
import { ORIGIN_PROPERTY } from "./origin.ts";

/** Publications that wait for their PUBACK. Few, because all of them may come twice after a broken connection. */
const MAX_IN_FLIGHT = 32;
/** The connection is cut when the broker acknowledges nothing for this long. */
const ACK_TIMEOUT_MS = 30_000;
/** The pause after a read that failed. */
const RETRY_MS = 1_000;
/** A publication that is in flight at this many ends of connections in a row, and first in each, is dropped. */
const MAX_BROKEN_CONNECTIONS = 5;
/** MQTT 5: reason codes from here on are failures. */
const FIRST_FAILURE_CODE = 0x80;

interface OutwardCursorOptions {
  log: Pick<PublicationLog, "follow" | "recent" | "read" | "head" | "floor">;
  /** Everything up to this position was sent before. */
  sent: number;
  /** Identifies this installation in its publications. */
  origin: string;
  version: 4 | 5;
  /** Called when everything up to the position is acknowledged. */
  onSent: (position: number) => void;
  /** Called when the broker does not acknowledge. */
  onStuck: (reason: string) => void;
  logger: Logger;
}

/**
 * Publishes what the backend says (presence, alerts, system, broadcasts) at the other broker: a cursor over the log, as
 * every MQTT session is. The cursor moves with the broker's acknowledgements, so each publication arrives at least once
 * and in order. After a crash, up to {@link MAX_IN_FLIGHT} come again, with the same ids.
 */
export class OutwardCursor {
  readonly #options: OutwardCursorOptions;
  readonly #limitedLog = new LimitedLog();
  #client: MqttClient | undefined;
  /** Everything up to here is acknowledged. */
  #sent: number;
  /** Everything up to here has been read from the log. */
  #read: number;
  /** Positions in flight, in order; true once acknowledged. */
  #inFlight = new Map<number, boolean>();
  #isReading = false;
  #ackTimer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #suspect = { position: 0, brokenConnections: 0 };
  /** The newest positions by topic that are sent during a repetition. Undefined when there is none. */
  #sentMeanwhile: Map<string, number> | undefined;
  readonly #unfollow: () => void;
  /** Publications that the broker acknowledged, refused, or that this cursor gave up. */
  readonly counts = { published: 0, refused: 0, lost: 0 };

  constructor(options: OutwardCursorOptions) {
    this.#options = options;
    this.#sent = options.sent;
    this.#read = options.sent;
    this.#unfollow = options.log.follow(() => void this.#pump());
  }

  /** Everything up to this position is acknowledged. */
  get sent(): number {
    return this.#sent;
  }

  up(client: MqttClient): void {
    this.#client = client;
    this.#read = this.#sent;
    this.#inFlight = new Map();
    void this.#pump();
  }

  down(): void {
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    const [first] = this.#inFlight.keys();
    if (first === undefined) return;
    const { position, brokenConnections } = this.#suspect;
    this.#suspect = { position: first, brokenConnections: first === position ? brokenConnections + 1 : 1 };
  }

  /** Publishes retained messages again, for a broker that has lost them. Never rejects. */
  async repeat(publications: AsyncIterable<LoggedPublication>): Promise<void> {
    const client = this.#client;
    const sentMeanwhile = new Map<string, number>();
    this.#sentMeanwhile = sentMeanwhile;
    try {
      for await (const publication of publications) {
        if (client === undefined || client !== this.#client) return;
        const { topic, position } = publication;
        // A newer message of the topic has been read from the log, and must stay the last one.
        if ((sentMeanwhile.get(topic) ?? 0) <= position) await this.#send(client, publication);
      }
    } catch (error) {
      this.#options.logger.warn({ reason: messageOf(error) }, "retained messages could not be published again");
    } finally {
      if (this.#sentMeanwhile === sentMeanwhile) this.#sentMeanwhile = undefined;
    }
  }

  /** Skips everything up to now, because the log has become too large. What is retained has to be repeated. */
  giveUp(): void {
    const { log, logger, onSent } = this.#options;
    logger.error({ after: this.#sent, upTo: log.head }, "publications for the MQTT broker are dropped: too many wait");
    this.counts.lost += log.head - this.#sent;
    this.#sent = log.head;
    this.#read = log.head;
    this.#inFlight = new Map();
    onSent(this.#sent);
  }

  stop(): void {
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#retryTimer);
    this.#unfollow();
    this.#limitedLog.stop();
  }

  async #pump(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      for (let client = this.#client; client !== undefined && this.#mayRead(); client = this.#client)
        await this.#readPage(client);
    } catch (error) {
      this.#options.logger.debug({ reason: messageOf(error) }, "log not read, retrying");
      this.#retryTimer = setTimeout(() => void this.#pump(), RETRY_MS);
    } finally {
      this.#isReading = false;
    }
  }

  #mayRead(): boolean {
    return this.#read < this.#options.log.head && this.#inFlight.size < MAX_IN_FLIGHT;
  }

  async #readPage(client: MqttClient): Promise<void> {
    const { log } = this.#options;
    const after = this.#read;
    const page = log.recent(after) ?? (await log.read(after));
    if (client !== this.#client) return;
    if (page.missing !== undefined) this.#lost(page.missing);
    const room = MAX_IN_FLIGHT - this.#inFlight.size;
    const taken = page.publications.slice(0, room);
    this.#read = taken.length < page.publications.length ? (taken.at(-1)?.position ?? after) : page.next;
    for (const publication of taken) this.#take(client, publication);
    this.#advance();
  }

  #take(client: MqttClient, publication: LoggedPublication): void {
    const { position, topic, expiresAt } = publication;
    if (expiresAt !== undefined && expiresAt <= Date.now()) return;
    if (position === this.#suspect.position && this.#suspect.brokenConnections >= MAX_BROKEN_CONNECTIONS) {
      this.counts.refused++;
      this.#options.logger.error({ topic, position }, "the MQTT broker ends the connection at a publication: dropped");
      return;
    }
    this.#inFlight.set(position, false);
    this.#sentMeanwhile?.set(topic, position);
    this.#armAckTimer();
    void this.#send(client, publication).then(() => {
      if (client !== this.#client) return;
      this.#inFlight.set(position, true);
      this.#armAckTimer();
      this.#advance();
      void this.#pump();
    });
  }

  /** Resolves when the broker has acknowledged or refused the publication. Never settles if the connection ends. */
  #send(client: MqttClient, publication: LoggedPublication): Promise<void> {
    const { topic, payload, retain } = publication;
    const { version, origin } = this.#options;
    const properties = version === 5 ? { properties: { userProperties: { [ORIGIN_PROPERTY]: origin } } } : {};
    return new Promise((resolve) => {
      // Also what was published to MQTT subscribers with QoS 2: a repetition has the same id.
      client.publish(topic, payload, { qos: 1, retain, ...properties }, (error, packet) => {
        if (client !== this.#client) return;
        const code = packet !== undefined && "reasonCode" in packet ? Number(packet.reasonCode) : 0;
        if (error == null && code < FIRST_FAILURE_CODE) this.counts.published++;
        else if (client.connected) this.#refused(publication, error?.message ?? `reason code ${code}`);
        else return;
        resolve();
      });
    });
  }

  #refused(publication: LoggedPublication, reason: string): void {
    const { topic } = publication;
    this.counts.refused++;
    this.#limitedLog.note(topic, (times) =>
      this.#options.logger.error(
        { topic, bytes: sizeOf(publication), reason, times },
        "the MQTT broker refuses a publication of the server: allow it in the broker's rules",
      ),
    );
  }

  #lost(missing: { after: number; before: number }): void {
    this.counts.lost += Math.max(0, missing.before - missing.after - 1);
    this.#options.logger.error(missing, "publications for the MQTT broker are lost: the store has removed them");
  }

  #advance(): void {
    let sent = this.#sent;
    for (const [position, isAcknowledged] of this.#inFlight) {
      if (!isAcknowledged) break;
      this.#inFlight.delete(position);
      sent = position;
    }
    if (this.#inFlight.size === 0) sent = this.#read;
    if (sent <= this.#sent) return;
    this.#sent = sent;
    this.#options.onSent(sent);
  }

  #armAckTimer(): void {
    clearTimeout(this.#ackTimer);
    if (this.#client === undefined || ![...this.#inFlight.values()].includes(false)) return;
    const reason = `the broker acknowledged nothing for ${ACK_TIMEOUT_MS / 1000} s`;
    this.#ackTimer = setTimeout(() => this.#options.onStuck(reason), ACK_TIMEOUT_MS);
  }
}
