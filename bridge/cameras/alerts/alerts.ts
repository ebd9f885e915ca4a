import type { Logger } from "pino";
import { type Alert, CAMERA_ALERTS, SERVICE_ALERTS } from "../../../contract/events.ts";
import { PRESENCE_STATE, type Topic, type TopicTree } from "../../../contract/topics.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import { TopicCache } from "../../../platform/topic-cache.ts";
import type { Publish } from "../../broker-link/publish.ts";
import type { Documents, Json } from "../../cluster/cluster.ts";
import type { Entry, Journal, StateEntry } from "../../journal/journal.ts";
import { eventIdOf } from "../event-id.ts";
import { type Fold, startFold } from "../journal-fold.ts";
import { type CameraFacts, type Moment, noteCamera, restoreCamera, saveCamera, unknownCamera } from "./camera-facts.ts";
import { CAMERA_RULES, SERVICE_RULES, type Verdict } from "./rules.ts";
import { noteService, restoreService, type ServiceFacts, saveService, unknownService } from "./service-facts.ts";
import { type AlertThresholds, DEFAULT_ALERT_THRESHOLDS } from "./thresholds.ts";

export interface AlertsOptions {
  journal: Pick<Journal, "epoch" | "head" | "follow" | "replay" | "recovery" | "snapshot" | "state">;
  documents: Pick<Documents, "list" | "get" | "put" | "delete">;
  tree: TopicTree;
  publish: Publish;
  thresholds?: Partial<AlertThresholds>;
  /** Further cameras are not watched. Default 10,000. */
  maxCameras?: number;
  /** Between two looks at all of them, milliseconds. Default 5,000. */
  lookIntervalMs?: number;
  saveIntervalMs?: number;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

type AlertTopic = Extract<Topic, { kind: "camera-alert" | "service-alert" }>;

/** Topics whose parts are remembered: twice as many at most. */
const TOPICS_REMEMBERED = 10_000;
/** Services that are watched; they are few. */
const MAX_SERVICES = 1_000;

/**
 * Raises and clears the alerts that the backend finds out itself: each is raised once, as a retained topic, and stays
 * until what it says holds no more, over restarts of every part. A store that takes no writes delays them.
 * @throws {StoreUnavailableError} it could not begin
 */
export async function startAlerts(options: AlertsOptions): Promise<{ stop(): Promise<void> }> {
  const { journal, documents, lookIntervalMs = 5_000, saveIntervalMs, logger } = options;
  const fold = new AlertFold(options);
  const running = await startFold({
    ...{ fold, journal, documents, logger },
    ...(saveIntervalMs === undefined ? {} : { saveIntervalMs }),
  });
  fold.look();
  const timer = setInterval(() => fold.look(), lookIntervalMs);
  timer.unref();
  return {
    async stop() {
      clearInterval(timer);
      await fold.idle();
      await running.stop();
      fold.endLog();
    },
  };
}

class AlertFold implements Fold {
  readonly collection = "alerts";
  readonly #options: AlertsOptions;
  readonly #thresholds: AlertThresholds;
  readonly #cameras = new Map<string, CameraFacts>();
  readonly #services = new Map<string, ServiceFacts>();
  /** The alerts that stand, whoever raised them: of nearly all there is nothing to clear. */
  readonly #standing = new Set<string>();
  readonly #topics: TopicCache<Topic | "other">;
  /** Keys of documents. */
  readonly #changed = new Set<string>();
  /** Topics whose alert is being raised or cleared. */
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #limitedLog = new LimitedLog();
  readonly #clock: () => number;
  readonly #startedAt: number;

  constructor(options: AlertsOptions) {
    this.#options = options;
    this.#clock = options.now ?? Date.now;
    this.#startedAt = this.#clock();
    this.#thresholds = { ...DEFAULT_ALERT_THRESHOLDS, ...options.thresholds };
    this.#topics = new TopicCache((name) => options.tree.parse(name) ?? "other", TOPICS_REMEMBERED);
  }

  restore(key: string, value: Json): void {
    const [kind, name] = key.split(":");
    if (name === undefined) return;
    const camera = kind === "camera" ? restoreCamera(value) : undefined;
    const service = kind === "service" ? restoreService(value) : undefined;
    if (camera !== undefined) this.#cameras.set(name, camera);
    if (service !== undefined) this.#services.set(name, service);
  }

  apply(entry: Entry): void {
    const topic = this.#topics.of(entry.topic);
    if (topic === "other") return;
    if (isAlert(topic)) {
      if (entry.state === "set") this.#standing.add(standingKey(topic));
      else if (entry.state === "clear") this.#standing.delete(standingKey(topic));
    }
    if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE && entry.state === "clear")
      this.#forget(topic.camera);
    // Nobody comes by what is cleared.
    else if (entry.state !== "clear" || !("camera" in topic) || this.#cameras.has(topic.camera))
      this.#note(topic, entry, false);
  }

  seed(states: readonly StateEntry[], fresh: boolean): void {
    this.#standing.clear();
    for (const entry of states) {
      const topic = this.#topics.of(entry.topic);
      if (topic === "other") continue;
      if (isAlert(topic)) this.#standing.add(standingKey(topic));
      this.#note(topic, entry, true);
    }
    if (!fresh) return;
    const now = this.#now();
    for (const facts of this.#cameras.values()) Object.assign(facts, { expectedFrom: now, cameAt: now.position });
    for (const facts of this.#services.values()) facts.heard = now;
  }

  changes(): Map<string, Json | null> {
    const changes = new Map<string, Json | null>();
    for (const key of this.#changed) {
      const name = key.slice(key.indexOf(":") + 1);
      const camera = key.startsWith("camera:") ? this.#cameras.get(name) : undefined;
      const service = key.startsWith("service:") ? this.#services.get(name) : undefined;
      if (key.startsWith("camera:")) changes.set(key, camera === undefined ? null : saveCamera(camera));
      if (service !== undefined) changes.set(key, saveService(service));
    }
    this.#changed.clear();
    return changes;
  }

  /** Compares what is with what is said, for everybody. */
  look(): void {
    const now = this.#clock();
    for (const [camera, facts] of this.#cameras) {
      const thresholds = this.#thresholdsOf(camera);
      for (const name of CAMERA_ALERTS) {
        if (name === "duplicate-client-id") continue;
        this.#settle(
          { kind: "camera-alert", camera, name },
          CAMERA_RULES[name](facts, now, thresholds, this.#startedAt),
        );
      }
    }
    for (const [service, facts] of this.#services) {
      for (const name of SERVICE_ALERTS) {
        const verdict = SERVICE_RULES[name](facts, now, this.#thresholds, this.#startedAt);
        this.#settle({ kind: "service-alert", service, name }, verdict);
      }
    }
  }

  #thresholdsOf(camera: string): AlertThresholds {
    const offlineMs = this.#thresholds.offlineMsOf.get(camera);
    return offlineMs === undefined ? this.#thresholds : { ...this.#thresholds, offlineMs };
  }

  /** Waits for what is being published. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay.values());
  }

  /** Logs what was only counted so far. */
  endLog(): void {
    this.#limitedLog.stop();
  }

  #note(topic: Topic, entry: StateEntry, retained: boolean): void {
    if ("camera" in topic) {
      const facts = this.#camera(topic.camera);
      if (facts === undefined || !noteCamera(facts, topic, entry, this.#thresholds)) return;
      this.#changed.add(`camera:${topic.camera}`);
    } else if ("service" in topic) {
      const facts = this.#service(topic.service);
      if (facts === undefined) return;
      noteService(facts, topic, entry, retained);
      this.#changed.add(`service:${topic.service}`);
    }
  }

  /** It was removed. */
  #forget(name: string): void {
    if (this.#cameras.delete(name)) this.#changed.add(`camera:${name}`);
  }

  #camera(name: string): CameraFacts | undefined {
    const known = this.#cameras.get(name);
    if (known !== undefined || this.#cameras.size >= (this.#options.maxCameras ?? 10_000)) return known;
    const facts = unknownCamera(this.#now());
    this.#cameras.set(name, facts);
    return facts;
  }

  #service(name: string): ServiceFacts | undefined {
    const known = this.#services.get(name);
    if (known !== undefined || this.#services.size >= MAX_SERVICES) return known;
    const facts = unknownService(this.#now());
    this.#services.set(name, facts);
    return facts;
  }

  #now(): Moment {
    return { at: this.#clock(), position: this.#options.journal.head };
  }

  #settle(topic: AlertTopic, verdict: Verdict): void {
    if (verdict.is === "leave" || (verdict.is === "clear" && !this.#standing.has(standingKey(topic)))) return;
    const { tree, journal } = this.#options;
    const name = tree.build(topic);
    const standing = journal.state(name);
    if ((verdict.is === "raise") === (standing !== undefined) || this.#underWay.has(name)) return;
    const done = (verdict.is === "raise" ? this.#raise(topic, verdict) : this.#clear(topic, standing?.position ?? 0))
      .catch((error: unknown) =>
        this.#options.logger.warn({ err: error, topic: name }, "alert not published, trying again"),
      )
      .finally(() => this.#underWay.delete(name));
    this.#underWay.set(name, done);
  }

  async #raise(topic: AlertTopic, { cause, severity, message }: Extract<Verdict, { is: "raise" }>): Promise<void> {
    const { publish, tree, journal, logger } = this.#options;
    const data: Alert = { alert: topic.name, severity, message };
    const id = eventIdOf("alert.raised", journal.epoch, tree.build(topic), cause);
    await publish({ topic, event: "alert.raised", data, retain: true, id });
    const name = tree.build(topic);
    this.#limitedLog.note(`raised ${name}`, (times) => logger.info({ topic: name, severity, times }, "alert raised"));
  }

  async #clear(topic: AlertTopic, raisedAt: number): Promise<void> {
    const { publish, tree, journal, logger } = this.#options;
    const id = eventIdOf("alert.cleared", journal.epoch, tree.build(topic), raisedAt);
    await publish({ topic, event: "alert.cleared", data: null, retain: true, id });
    const name = tree.build(topic);
    this.#limitedLog.note(`cleared ${name}`, (times) => logger.info({ topic: name, times }, "alert cleared"));
  }
}

function isAlert(topic: Topic): topic is AlertTopic {
  return topic.kind === "camera-alert" || topic.kind === "service-alert";
}

function standingKey(topic: AlertTopic): string {
  return topic.kind === "camera-alert"
    ? `camera:${topic.camera}/${topic.name}`
    : `service:${topic.service}/${topic.name}`;
}
