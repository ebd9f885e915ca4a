import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import type { LoggedPublication, MqttLog } from "../../../platform/publication-log.ts";
import type { TaskLease } from "../../cluster/singleton.ts";
import type { OutsideBrokerConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { HearingState } from "./hearing.ts";
import type { Installation } from "./installation.ts";
import { OutwardCursor } from "./outward-cursor.ts";
import { type InwardTopics, Receiver, type ReceiverOptions } from "./receiver.ts";

/** The record of the installation is saved this often. After a crash, what was sent since comes twice. */
const SAVE_MS = 1_000;
/** How exactly the end of a lost session's last use is known. */
const SEEN_MS = 15_000;
/** Topics whose retained messages are read at once. */
const RETAINED_PAGE = 100;
/** MQTT 5, section 3.1.2.11.2: the session does not expire. */
const NEVER_EXPIRES = 0xffff_ffff;

export interface TaskCounts {
  received: number;
  acknowledged: number;
  skipped: number;
  notAccepted: number;
  connections: number;
  published: number;
  refused: number;
  lost: number;
}

interface ReceivingTaskOptions {
  config: OutsideBrokerConfig;
  sessionHours: number;
  maxPayloadBytes: number;
  mqttLog: Pick<MqttLog, "publications">;
  topics: InwardTopics;
  accept: ReceiverOptions["accept"];
  isCurrentState: ReceiverOptions["isCurrentState"];
  onSessionLost: (since: Date) => void;
  logger: Logger;
  lease: TaskLease;
  installation: Installation;
  save: (installation: Installation) => Promise<void>;
  onHearing: (state: Omit<HearingState, "lost">) => void;
  onRefused: ReceiverOptions["onRefused"];
}

/** What the node with the lease does: it receives, and publishes what the backend says. */
export class ReceivingTask {
  readonly #options: ReceivingTaskOptions;
  readonly #receiver: Receiver;
  readonly #cursor: OutwardCursor;
  #installation: Installation;
  #isSaved = true;
  #saving: Promise<void> = Promise.resolve();
  #saveTimer: NodeJS.Timeout | undefined;
  #links: string[] | undefined;
  /** Publications were dropped since the last connection. */
  #hasGivenUp = false;

  constructor(options: ReceivingTaskOptions) {
    this.#options = options;
    const { config, installation, lease, logger, mqttLog, sessionHours } = options;
    this.#installation = installation;
    const origin = installation.name;
    const { version } = config;
    this.#receiver = new Receiver({
      ...{ config, topics: options.topics, origin, logger, fence: lease.fence },
      ...{ accept: options.accept, isCurrentState: options.isCurrentState, onRefused: options.onRefused },
      clientId: config.clientId ?? `skylapse-${origin}`,
      maxPayloadBytes: options.maxPayloadBytes,
      sessionExpiryS: Number.isFinite(sessionHours) ? Math.ceil(sessionHours * 3_600) : NEVER_EXPIRES,
      onUp: (client, isResumed) => this.#up(client, isResumed),
      onDown: () => this.#down(),
      onCurrent: (links) => this.#current(links),
      onLeaseLost: () => lease.lose(),
    });
    this.#cursor = new OutwardCursor({
      ...{ log: mqttLog.publications, sent: installation.sent, origin, version, logger },
      onSent: (sent) => this.#change({ sent }),
      onStuck: (reason) => this.#receiver.connection.cut(reason),
    });
  }

  get downReason(): string | undefined {
    return this.#receiver.connection.downReason;
  }

  get behind(): number {
    return Math.max(0, this.#options.mqttLog.publications.head - this.#cursor.sent);
  }

  get counts(): TaskCounts {
    return { ...this.#receiver.counts, ...this.#cursor.counts, connections: this.#receiver.connection.connections };
  }

  start(): void {
    this.#report(false, false);
    this.#saveTimer = setInterval(() => this.#save(), SAVE_MS).unref();
    this.#receiver.connection.open();
  }

  /** Drops what waits for a broker that is away, so that the log can be trimmed. */
  giveUp(): void {
    if (this.downReason === undefined || this.behind === 0) return;
    this.#hasGivenUp = true;
    this.#cursor.giveUp();
  }

  /** The positions have no meaning any more: the task begins again. */
  restart(): void {
    this.#options.lease.lose();
  }

  async stop(): Promise<void> {
    clearInterval(this.#saveTimer);
    await this.#receiver.stop();
    this.#cursor.stop();
    this.#seen();
    this.#save();
    await this.#saving;
  }

  #up(client: NonNullable<Connection["client"]>, isResumed: boolean): void {
    const { hasSession, seenAt } = this.#installation;
    const { onSessionLost, logger, mqttLog } = this.#options;
    this.#links = undefined;
    this.#report(true, false);
    this.#cursor.up(client);
    if (!isResumed && hasSession) {
      logger.error(
        { since: new Date(seenAt).toISOString() },
        "the MQTT broker has lost the session of the server: what cameras sent since then and do not send again is lost",
      );
      onSessionLost(new Date(seenAt));
    }
    // Also at a broker that is new: it has nothing of what this installation retained.
    if (!isResumed || this.#hasGivenUp) void this.#cursor.repeat(retainedSince(mqttLog, this.#installation.since));
    this.#hasGivenUp = false;
    this.#change({ hasSession: true, seenAt: Date.now() });
    this.#save();
  }

  #down(): void {
    this.#cursor.down();
    this.#report(false, false);
  }

  #current(links: string[] | undefined): void {
    this.#links = links;
    this.#report(true, true);
  }

  #report(isConnected: boolean, isCurrent: boolean): void {
    const position = this.#options.mqttLog.publications.head;
    const links = this.#links;
    this.#options.onHearing({ isConnected, isCurrent, position, ...(links === undefined ? {} : { links }) });
  }

  #change(changed: Partial<Installation>): void {
    this.#installation = { ...this.#installation, ...changed };
    this.#isSaved = false;
  }

  #seen(): void {
    if (this.downReason === undefined) this.#change({ seenAt: Date.now() });
  }

  #save(): void {
    if (this.downReason === undefined && Date.now() - this.#installation.seenAt > SEEN_MS) this.#seen();
    if (this.#isSaved) return;
    this.#isSaved = true;
    const { save, logger } = this.#options;
    const saved = this.#installation;
    this.#saving = this.#saving.then(() =>
      save(saved).catch((error: unknown) => {
        this.#isSaved = false;
        logger.debug({ reason: messageOf(error) }, "place in the log not saved, retrying");
      }),
    );
  }
}

/** What this installation has retained since it uses another broker. */
async function* retainedSince({ publications }: Pick<MqttLog, "publications">, since: number) {
  let topics: string[] = [];
  for await (const { topic, position } of publications.retainedTopics()) {
    if (position <= since) continue;
    topics.push(topic);
    if (topics.length < RETAINED_PAGE) continue;
    yield* defined(await publications.retained(topics));
    topics = [];
  }
  if (topics.length > 0) yield* defined(await publications.retained(topics));
}

function defined(found: readonly (LoggedPublication | undefined)[]): LoggedPublication[] {
  return found.filter((publication) => publication !== undefined);
}
