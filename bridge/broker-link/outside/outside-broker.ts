import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import type { MqttLog } from "../../../platform/publication-log.ts";
import type { IncomingPublication, OutgoingPublication } from "../../../platform/publications.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import { documentsFor, runAsSingleton, type TaskLease } from "../../cluster/singleton.ts";
import type { OutsideBrokerConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import { Hearing, type HearingState } from "./hearing.ts";
import { type Installation, openInstallation, readInstallation, saveInstallation } from "./installation.ts";
import type { InwardTopics, ReceiverOptions } from "./receiver.ts";
import { ReceivingTask, type TaskCounts } from "./receiving-task.ts";

/** The log is trimmed this often. */
const TRIM_MS = 5_000;
/** A command waits this long for the broker's acknowledgement. */
const PUBLISH_TIMEOUT_MS = 10_000;

export interface OutsideBrokerOptions {
  config: OutsideBrokerConfig;
  /** How long the broker keeps the session while no node is connected. */
  sessionHours: number;
  /** The largest payload that the server accepts. */
  maxPayloadBytes: number;
  /** The largest size of what waits for a broker that is away, and of everything else in the log. */
  maxLogBytes: number;
  cluster: Pick<Cluster, "signals" | "nodeId" | "leases" | "documents">;
  mqttLog: Pick<MqttLog, "publications" | "onReset">;
  topics: InwardTopics;
  accept: ReceiverOptions["accept"];
  isCurrentState: ReceiverOptions["isCurrentState"];
  /** The broker has lost the session of this installation. @param since when the session was last used */
  onSessionLost: (since: Date) => void;
  logger: Logger;
}

/** Counts of this node since its start. */
export interface OutsideBrokerStats {
  /** The address, without credentials. */
  broker: string;
  connected: boolean;
  /** Why there is no connection. */
  reason?: string;
  /** Whether this node receives for all nodes. */
  receives: boolean;
  /** Whether everything that waited at the broker has been read. */
  current: boolean;
  connections: number;
  received: number;
  acknowledged: number;
  /** Publications of the server itself, and repeated retained messages. */
  skipped: number;
  refused: number;
  notAccepted: number;
  published: number;
  publishRefused: number;
  publishLost: number;
  /** Positions of the journal that the publications of the server are behind. */
  publishBehind: number;
  lostSessions: number;
}

const NO_COUNTS: TaskCounts = {
  ...{ received: 0, acknowledged: 0, skipped: 0, notAccepted: 0, connections: 0 },
  ...{ published: 0, refused: 0, lost: 0 },
};

/**
 * The bridge as a client of another broker.
 *
 * One node at a time receives, under a lease, in one session that all nodes share. That node also publishes what the
 * backend says. docs/decisions/outside-broker.md says why there is no shared subscription. Each node sends commands over
 * a connection of its own.
 */
export class OutsideBroker {
  readonly #options: OutsideBrokerOptions;
  readonly #hearing: Hearing;
  readonly #limitedLog = new LimitedLog();
  #commands: Connection | undefined;
  #task: ReceivingTask | undefined;
  /** Counts of earlier tasks of this node. */
  #earlier = NO_COUNTS;
  #refused = 0;
  #lostSessions = 0;
  readonly #stops: (() => void | Promise<void>)[] = [];

  constructor(options: OutsideBrokerOptions) {
    this.#options = options;
    const { cluster, mqttLog } = options;
    this.#hearing = new Hearing({ cluster, head: () => mqttLog.publications.head });
  }

  start(): void {
    const { config, cluster, logger, mqttLog } = this.#options;
    const base = config.clientId ?? "skylapse";
    this.#commands = new Connection({ config, clientId: `${base}-${cluster.nodeId}`, logger });
    this.#commands.open();
    const singleton = runAsSingleton({
      ...{ leases: cluster.leases, name: "outside-broker", logger },
      begin: (lease) => this.#begin(lease),
    });
    const trimming = setInterval(() => void this.#trim(), TRIM_MS).unref();
    this.#stops.push(
      () => this.#hearing.stop(),
      () => this.#limitedLog.stop(),
      () => this.#commands?.stop(),
      () => singleton.stop(),
      mqttLog.onReset(() => this.#task?.restart()),
      () => clearInterval(trimming),
    );
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
  }

  /** What the receiving node last said. */
  get hearing(): HearingState | undefined {
    return this.#hearing.state;
  }

  /** Whether the server knows everything that cameras have sent up to now. */
  get isHearing(): boolean {
    return this.#hearing.isCurrent;
  }

  /** Why cameras are not heard or not reached. Undefined while they are. */
  get unavailableReason(): string | undefined {
    const { place } = this.#options.config;
    const reason = this.#commands?.downReason;
    if (reason !== undefined) return `the MQTT broker at ${place} cannot be reached (${reason})`;
    if (this.#hearing.state?.isConnected === true) return undefined;
    const why = this.#task?.downReason ?? "no node receives";
    return `the server does not receive from the MQTT broker at ${place} (${why})`;
  }

  /**
   * Resolves when the broker has acknowledged the publication.
   * @throws {Error} there is no connection, or the broker refuses the publication
   */
  async publish({ topic, payload, qos, retain }: OutgoingPublication): Promise<void> {
    const client = this.#commands?.client;
    if (client === undefined) throw new Error(this.unavailableReason);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const reason = "the MQTT broker does not acknowledge";
      timer = setTimeout(() => {
        this.#commands?.cut(reason);
        reject(new Error(reason));
      }, PUBLISH_TIMEOUT_MS);
    });
    try {
      await Promise.race([client.publishAsync(topic, payload, { qos, retain }), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  stats(): OutsideBrokerStats {
    const { received, acknowledged, skipped, notAccepted, connections, published, refused, lost } = this.#counts();
    const reason = this.unavailableReason;
    return {
      ...{ broker: this.#options.config.place, connected: reason === undefined },
      ...(reason === undefined ? {} : { reason }),
      ...{ receives: this.#task !== undefined, current: this.isHearing },
      ...{ connections, received, acknowledged, skipped, refused: this.#refused, notAccepted },
      ...{ published, publishRefused: refused, publishLost: lost, publishBehind: this.#task?.behind ?? 0 },
      lostSessions: this.#lostSessions,
    };
  }

  async #begin(lease: TaskLease): Promise<{ stop(): Promise<void> }> {
    const { cluster, mqttLog } = this.#options;
    const documents = documentsFor(lease, cluster.documents);
    const installation = await openInstallation(documents, mqttLog.publications);
    const task = new ReceivingTask({
      ...this.#options,
      ...{ lease, installation, save: (changed: Installation) => saveInstallation(documents, changed) },
      onHearing: (state) => this.#hearing.set({ ...state, lost: this.#lostSessions }),
      onRefused: (publication, error) => this.#refuse(publication, error),
      onSessionLost: (since) => {
        this.#lostSessions++;
        this.#options.onSessionLost(since);
      },
    });
    this.#task = task;
    task.start();
    return {
      stop: async () => {
        await task.stop();
        this.#earlier = this.#counts();
        this.#task = undefined;
        this.#hearing.set(undefined);
      },
    };
  }

  #counts(): TaskCounts {
    const counts = this.#task?.counts ?? NO_COUNTS;
    const sum = { ...this.#earlier };
    for (const name of NAMES) sum[name] += counts[name];
    return sum;
  }

  #refuse({ identity, topic }: IncomingPublication, error: Error): void {
    this.#refused++;
    this.#limitedLog.note(identity, (times) =>
      this.#options.logger.warn({ identity, topic, reason: error.message, times }, "publication refused"),
    );
  }

  /** Every node does so: the store removes only what no node needs. */
  async #trim(): Promise<void> {
    const { cluster, mqttLog, maxLogBytes, logger } = this.#options;
    const { publications } = mqttLog;
    if (publications.bytes > maxLogBytes) this.#task?.giveUp();
    try {
      const known = await readInstallation(cluster.documents);
      if (known?.epoch === publications.epoch && known.sent > publications.floor) publications.trim(known.sent);
    } catch (error) {
      logger.debug({ reason: messageOf(error) }, "log not trimmed, retrying later");
    }
  }
}

const NAMES: readonly (keyof TaskCounts)[] = [
  ...(["received", "acknowledged", "skipped", "notAccepted", "connections"] as const),
  ...(["published", "refused", "lost"] as const),
];
