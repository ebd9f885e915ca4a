import { CAMERA_ALERTS, SERVICE_ALERTS } from "../../../contract/events.ts";
import { PRESENCE_STATE, type Topic } from "../../../contract/topics.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import { TopicCache } from "../../../platform/topic-cache.ts";
import type { Json } from "../../cluster/cluster.ts";
import type { Entry, StateEntry } from "../../journal/journal.ts";
import { BoundedMap } from "../bounded-map.ts";
import type { PublishingWatcherOptions } from "../checkpoint.ts";
import { CAMERA_DEFAULTS } from "../config.ts";
import { eventIdOf } from "../event-id.ts";
import { startCheckpointedWatcher, type Watcher } from "../watcher.ts";
import type { CheckpointedRules } from "../watcher-rules.ts";
import { type CameraFacts, type Moment, noteCamera, restoreCamera, saveCamera, unknownCamera } from "./camera-facts.ts";
import { type AlertThresholds, DEFAULT_ALERT_THRESHOLDS } from "./config.ts";
import { alertOf, isAlertNote, NoteEnds } from "./note-ends.ts";
import { CAMERA_RULES, SERVICE_RULES, type Verdict } from "./rules.ts";
import { noteService, restoreService, type ServiceFacts, saveService, unknownService } from "./service-facts.ts";

interface AlertsOptions extends PublishingWatcherOptions {
  thresholds?: Partial<AlertThresholds>;
}

type AlertTopic = Extract<Topic, { kind: "camera-alert" | "service-alert" }>;

/** Milliseconds between two checks of all cameras and services. */
const CHECK_INTERVAL_MS = 5_000;
/** The most topics in each of the two generations of the cache. */
const CACHED_TOPICS = 10_000;
const MAX_SERVICES = 1_000;

/**
 * Raises and clears the backend's alerts. An alert is a retained topic, raised once. It stays raised, even across
 * restarts, until its condition ends. While the store is unavailable, alerts are delayed.
 * @throws {StoreUnavailableError} the saved state cannot be read
 */
export async function startAlerts(options: AlertsOptions): Promise<Watcher> {
  const rules = new AlertRules(options);
  const { limitedLog } = rules;
  const watcher = await startCheckpointedWatcher(rules, { ...options, checkIntervalMs: CHECK_INTERVAL_MS, limitedLog });
  rules.check();
  return watcher;
}

class AlertRules implements CheckpointedRules {
  readonly collection = "alerts";
  readonly changed = new Set<string>();
  readonly limitedLog = new LimitedLog();
  readonly #options: AlertsOptions;
  readonly #thresholds: AlertThresholds;
  readonly #cameras: BoundedMap<CameraFacts>;
  readonly #services = new BoundedMap<ServiceFacts>(MAX_SERVICES);
  /** All raised alerts, including those that cameras raised. Most cameras have none, so most checks clear nothing. */
  readonly #raised = new Set<string>();
  readonly #topics: TopicCache<Topic | "other">;
  readonly #notes: NoteEnds;
  /** Alerts whose publication is under way, by topic. */
  readonly #publishing = new Map<string, Promise<void>>();
  readonly #now: () => number;
  readonly #startedAt: number;

  constructor(options: AlertsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#startedAt = this.#now();
    this.#thresholds = { ...DEFAULT_ALERT_THRESHOLDS, ...options.thresholds };
    this.#cameras = new BoundedMap(options.maxCameras ?? CAMERA_DEFAULTS.presence.maxCameras);
    this.#notes = new NoteEnds(options);
    this.#topics = new TopicCache((name) => options.tree.parse(name) ?? "other", CACHED_TOPICS);
  }

  restore(key: string, value: Json): void {
    const [kind, name] = key.split(":");
    if (name === undefined) return;
    const camera = kind === "camera" ? restoreCamera(value) : undefined;
    const service = kind === "service" ? restoreService(value) : undefined;
    if (camera !== undefined) this.#cameras.set(name, camera);
    if (service !== undefined) this.#services.set(name, service);
  }

  document(key: string): Json | null {
    const name = key.slice(key.indexOf(":") + 1);
    const camera = key.startsWith("camera:") ? this.#cameras.get(name) : undefined;
    const service = key.startsWith("service:") ? this.#services.get(name) : undefined;
    if (camera !== undefined) return saveCamera(camera);
    return service === undefined ? null : saveService(service);
  }

  seed(retained: readonly StateEntry[], isFresh: boolean): void {
    this.#raised.clear();
    for (const entry of retained) {
      const topic = this.#topics.of(entry.topic);
      if (topic === "other") continue;
      if (isAlert(topic)) this.#raised.add(alertKey(topic));
      if (isAlertNote(topic)) this.#notes.seed(topic, entry);
      else this.#note(topic, entry, true);
    }
    if (!isFresh) return;
    const now = this.#moment();
    for (const facts of this.#cameras.values())
      Object.assign(facts, { expectedFrom: now, connectedPosition: now.position });
    for (const facts of this.#services.values()) facts.heard = now;
  }

  apply(entry: Entry): void {
    const topic = this.#topics.of(entry.topic);
    if (topic === "other") return;
    // People write these, so they say nothing about the camera or the service.
    if (isAlertNote(topic)) {
      this.#notes.apply(topic, entry, this.#raised.has(alertKey(alertOf(topic))));
      return;
    }
    if (isAlert(topic)) {
      if (entry.state === "set") this.#raised.add(alertKey(topic));
      else if (entry.state === "clear") {
        this.#raised.delete(alertKey(topic));
        this.#notes.alertCleared(topic, entry);
      }
    }
    if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE && entry.state === "clear") {
      if (this.#cameras.delete(topic.camera)) this.changed.add(`camera:${topic.camera}`);
      // A cleared topic must not add an unknown camera.
    } else if (entry.state !== "clear" || !("camera" in topic) || this.#cameras.has(topic.camera))
      this.#note(topic, entry, false);
  }

  check(): void {
    const now = this.#now();
    this.#notes.check(now);
    for (const [camera, facts] of this.#cameras) {
      const offlineMs = this.#thresholds.offlineMsOf.get(camera);
      const thresholds = offlineMs === undefined ? this.#thresholds : { ...this.#thresholds, offlineMs };
      for (const name of CAMERA_ALERTS) {
        // Raised by `duplicate-devices.ts`.
        if (name === "duplicate-client-id") continue;
        const verdict = CAMERA_RULES[name](facts, now, thresholds, this.#startedAt);
        this.#settleAlert({ kind: "camera-alert", camera, name }, verdict);
      }
    }
    for (const [service, facts] of this.#services) {
      for (const name of SERVICE_ALERTS) {
        const verdict = SERVICE_RULES[name](facts, now, this.#thresholds, this.#startedAt);
        this.#settleAlert({ kind: "service-alert", service, name }, verdict);
      }
    }
  }

  async settle(): Promise<void> {
    await Promise.all([...this.#publishing.values(), this.#notes.settle()]);
  }

  #note(topic: Topic, entry: StateEntry, isRetained: boolean): void {
    if ("camera" in topic) {
      const facts = this.#cameras.getOrCreate(topic.camera, () => unknownCamera(this.#moment()));
      if (facts === undefined || !noteCamera(facts, topic, entry, this.#thresholds)) return;
      this.changed.add(`camera:${topic.camera}`);
    } else if ("service" in topic) {
      const facts = this.#services.getOrCreate(topic.service, () => unknownService(this.#moment()));
      if (facts === undefined) return;
      noteService(facts, topic, entry, isRetained);
      this.changed.add(`service:${topic.service}`);
    }
  }

  #moment(): Moment {
    return { at: this.#now(), position: this.#options.journal.head };
  }

  #settleAlert(topic: AlertTopic, verdict: Verdict): void {
    if (verdict.is === "leave" || (verdict.is === "clear" && !this.#raised.has(alertKey(topic)))) return;
    const { tree, journal } = this.#options;
    const name = tree.build(topic);
    const raised = journal.state(name);
    if ((verdict.is === "raise") === (raised !== undefined) || this.#publishing.has(name)) return;
    const done = this.#publish(topic, name, verdict, raised?.position ?? 0)
      .catch((error: unknown) =>
        this.#options.logger.warn({ err: error, ...idsOf(topic), topic: name }, "alert not published, retrying"),
      )
      .finally(() => this.#publishing.delete(name));
    this.#publishing.set(name, done);
  }

  async #publish(topic: AlertTopic, name: string, verdict: Verdict, raisedPosition: number): Promise<void> {
    const { publish, journal, logger } = this.#options;
    const { severity, message, cause } = verdict.is === "raise" ? verdict : { cause: raisedPosition };
    const event = verdict.is === "raise" ? "alert.raised" : "alert.cleared";
    const data = verdict.is === "raise" ? { alert: topic.name, severity, message } : null;
    await publish({ topic, event, data, retain: true, id: eventIdOf(event, journal.epoch, name, cause) });
    this.limitedLog.note(`${event} ${name}`, (times) =>
      logger.info(
        { ...idsOf(topic), topic: name, severity, times },
        verdict.is === "raise" ? "alert raised" : "alert cleared",
      ),
    );
  }
}

function isAlert(topic: Topic): topic is AlertTopic {
  return topic.kind === "camera-alert" || topic.kind === "service-alert";
}

function alertKey(topic: AlertTopic): string {
  return topic.kind === "camera-alert"
    ? `camera:${topic.camera}/${topic.name}`
    : `service:${topic.service}/${topic.name}`;
}

function idsOf(topic: AlertTopic): { camera: string } | { service: string } {
  return topic.kind === "camera-alert" ? { camera: topic.camera } : { service: topic.service };
}
