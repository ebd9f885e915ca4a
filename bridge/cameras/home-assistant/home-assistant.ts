import type { Logger } from "pino";
import { cameraChannel } from "../../../contract/channels.ts";
import { discoveryTopic } from "../../../contract/home-assistant.ts";
import { PRESENCE_STATE, type Topic, type TopicTree } from "../../../contract/topics.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import type { OutgoingPublication } from "../../../platform/publications.ts";
import { TopicCache } from "../../../platform/topic-cache.ts";
import type { Documents, Json } from "../../cluster/cluster.ts";
import { endOf } from "../../journal/entry-body.ts";
import type { Entry, Journal, StateEntry } from "../../journal/journal.ts";
import { BoundedMap } from "../bounded-map.ts";
import type { CheckpointOptions } from "../checkpoint.ts";
import { CAMERA_DEFAULTS } from "../config.ts";
import { startCheckpointedWatcher, type Watcher } from "../watcher.ts";
import type { CheckpointedRules } from "../watcher-rules.ts";
import { type AnnouncedCamera, newCamera, restoreCamera, saveCamera } from "./announced-camera.ts";
import { announcement, OPTIONAL_VALUES } from "./announcement.ts";
import { captureTimeOf } from "./capture-time.ts";
import { ANNOUNCED, clear, clearOutdated } from "./clearing.ts";
import { DEFAULT_PICTURE_INTERVAL_MS } from "./config.ts";
import { homeAssistantState, retainedTopics, SHOWN_STATES } from "./state.ts";

/** The newest picture of each camera. Times in milliseconds since 1970. */
export interface PictureSource {
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, Picture>>;
  read(camera: string): Promise<{ preview: Picture; jpeg: Buffer } | undefined>;
}

interface Picture {
  etag: string;
  takenAt: number;
}

export interface HomeAssistantOptions extends CheckpointOptions {
  journal: CheckpointOptions["journal"] & Pick<Journal, "state">;
  documents: Documents;
  /** Without a `discoveryPrefix`, earlier announcements are cleared and nothing is announced. */
  tree: TopicTree;
  /** Publishes to MQTT subscribers, past the events of the journal. */
  publishToMqtt: (publication: OutgoingPublication) => Promise<void>;
  pictures: PictureSource;
  /** See `HOME_ASSISTANT_PICTURE_SECONDS`. */
  pictureIntervalMs?: number;
  /** Cameras above this number are not announced. */
  maxCameras?: number;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  /** See {@link announcement}. Default: false, the server has its own broker. */
  isDirect?: boolean;
  /** The version of the server. */
  version: string;
  logger: Logger;
}

/** Milliseconds. A camera's state is published at most once in this time. */
const CHECK_INTERVAL_MS = 1_000;
/** Cameras whose publications are under way at the same time. */
const MAX_CONCURRENT = 32;
/** The most topics in each of the two generations of the cache. */
const CACHED_TOPICS = 10_000;

/**
 * Announces each camera to Home Assistant, and publishes its state and its newest picture, all retained. Other readers of
 * the journal do not notice these publications.
 * @throws {StoreUnavailableError} the earlier announcements cannot be read or cleared
 */
export async function startHomeAssistant(options: HomeAssistantOptions): Promise<Watcher> {
  const earlier = await clearOutdated(options);
  const { discoveryPrefix } = options.tree;
  if (discoveryPrefix === undefined) return { stop: async () => {} };
  const rules = new HomeAssistantRules(options, discoveryPrefix, earlier);
  const { limitedLog } = rules;
  return await startCheckpointedWatcher(rules, { ...options, checkIntervalMs: CHECK_INTERVAL_MS, limitedLog });
}

class HomeAssistantRules implements CheckpointedRules {
  readonly collection = ANNOUNCED;
  readonly changed = new Set<string>();
  readonly limitedLog = new LimitedLog();
  readonly #options: HomeAssistantOptions;
  readonly #prefix: string;
  readonly #now: () => number;
  readonly #pictureIntervalMs: number;
  readonly #cameras: BoundedMap<AnnouncedCamera>;
  readonly #topics: TopicCache<Topic | "other">;
  /** Cameras whose state or announcement may have changed. */
  readonly #dirty: Set<string>;
  /** Cameras that may have a new picture. */
  readonly #withPicture = new Set<string>();
  #publishing: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: HomeAssistantOptions, prefix: string, earlier: readonly string[]) {
    this.#options = options;
    this.#prefix = prefix;
    this.#now = options.now ?? Date.now;
    this.#pictureIntervalMs = options.pictureIntervalMs ?? DEFAULT_PICTURE_INTERVAL_MS;
    this.#cameras = new BoundedMap(options.maxCameras ?? CAMERA_DEFAULTS.presence.maxCameras);
    this.#topics = new TopicCache((name) => shownTopic(options.tree, name) ?? "other", CACHED_TOPICS);
    this.#dirty = new Set(earlier);
    for (const camera of earlier) this.#cameras.set(camera, { ...newCamera(), isStored: true });
  }

  restore(name: string, value: Json): void {
    const camera = restoreCamera(value);
    if (camera !== undefined) this.#cameras.set(name, camera);
  }

  document(name: string): Json | null {
    const camera = this.#cameras.get(name);
    return camera?.isStored === true ? this.#saved(camera) : null;
  }

  seed(retained: readonly StateEntry[]): void {
    for (const { topic: name } of retained) {
      const topic = this.#topics.of(name);
      if (topic === "other" || topic.kind !== "camera-state" || topic.name !== PRESENCE_STATE) continue;
      this.#dirty.add(topic.camera);
      this.#withPicture.add(topic.camera);
      if (this.#cameras.has(topic.camera)) this.changed.add(topic.camera);
    }
  }

  apply(entry: Entry): void {
    const topic = this.#topics.of(entry.topic);
    if (topic === "other" || !("camera" in topic)) return;
    const { camera } = topic;
    if (topic.kind === "camera-preview") {
      // A preview from a backlog is not the newest.
      if (!endOf(entry).historical) this.#withPicture.add(camera);
      return;
    }
    if (topic.kind === "camera-event") this.#noteCapture(camera, entry);
    else if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE) this.#notePresence(camera, entry);
    this.#dirty.add(camera);
  }

  check(): void {
    if (this.#isStopped || this.#publishing !== undefined) return;
    this.#publishing = this.#publishAll().finally(() => {
      this.#publishing = undefined;
    });
  }

  async settle(): Promise<void> {
    this.#isStopped = true;
    await this.#publishing;
  }

  async #publishAll(): Promise<void> {
    await this.#each(
      this.#withPicture,
      (camera) => this.#isPictureDue(camera),
      (camera) => this.#publishPicture(camera),
    );
    await this.#each(
      this.#dirty,
      () => true,
      (camera) => this.#publishCamera(camera),
    );
  }

  /** Takes cameras out of the set and publishes about them. A camera that fails stays in the set. Never rejects. */
  async #each(cameras: Set<string>, isDue: (camera: string) => boolean, publish: (camera: string) => Promise<void>) {
    const due = [...cameras].filter(isDue);
    for (let from = 0; from < due.length && !this.#isStopped; from += MAX_CONCURRENT) {
      await Promise.all(
        due.slice(from, from + MAX_CONCURRENT).map(async (camera) => {
          cameras.delete(camera);
          try {
            await publish(camera);
          } catch (err) {
            cameras.add(camera);
            this.limitedLog.note("failed", (times) =>
              this.#options.logger.warn({ err, camera, times }, "camera not published to Home Assistant, retrying"),
            );
          }
        }),
      );
    }
  }

  async #publishCamera(id: string): Promise<void> {
    const { journal, tree, isDirect = false, version } = this.#options;
    const presence = tree.build({ kind: "camera-state", camera: id, name: PRESENCE_STATE });
    if (journal.state(presence) === undefined) return await this.#withdraw(id);
    const camera = await this.#stored(id);
    if (camera === undefined) return;
    const topics = retainedTopics(journal.snapshot(cameraChannel(id)), tree);
    const state = homeAssistantState(topics, camera.lastCapture);
    for (const value of OPTIONAL_VALUES) {
      if (state[value] === null || camera.known.has(value)) continue;
      camera.known.add(value);
      this.changed.add(id);
    }
    // The state first: Home Assistant subscribes to the state when it reads the announcement.
    await this.#publish(camera, tree.build({ kind: "home-assistant", of: id, name: "state" }), state);
    const announced = announcement({ id, about: topics.about, known: camera.known, tree, isDirect, version });
    await this.#publish(camera, discoveryTopic(this.#prefix, tree.root, id), announced);
  }

  async #publish({ published }: AnnouncedCamera, topic: string, content: object): Promise<void> {
    const text = JSON.stringify(content);
    if (published.get(topic) === text) return;
    await this.#options.publishToMqtt({ topic, payload: Buffer.from(text), qos: 1, retain: true });
    published.set(topic, text);
  }

  #isPictureDue(id: string): boolean {
    const { pictureAt = Number.NEGATIVE_INFINITY } = this.#cameras.get(id) ?? {};
    return this.#now() - pictureAt >= this.#pictureIntervalMs;
  }

  async #publishPicture(id: string): Promise<void> {
    const { journal, pictures, tree, publishToMqtt } = this.#options;
    const presence = tree.build({ kind: "camera-state", camera: id, name: PRESENCE_STATE });
    // The picture of a camera without a presence waits until the presence is known.
    if (journal.state(presence) === undefined) return;
    const newest = (await pictures.newest([id])).get(id);
    const camera = newest === undefined ? undefined : await this.#stored(id);
    if (newest === undefined || camera === undefined || camera.picture === newest.etag) return;
    const found = await pictures.read(id);
    if (found === undefined) return;
    const topic = tree.build({ kind: "home-assistant", of: id, name: "picture" });
    // With QoS 0, no session that is away stores pictures.
    await publishToMqtt({ topic, payload: found.jpeg, qos: 0, retain: true });
    Object.assign(camera, { picture: found.preview.etag, pictureAt: this.#now() });
    this.#noteCaptureAt(id, camera, found.preview.takenAt);
    this.changed.add(id);
  }

  /** The camera, after its document is stored: what is retained about a camera is always known. */
  async #stored(id: string): Promise<AnnouncedCamera | undefined> {
    const camera = this.#cameras.getOrCreate(id, newCamera);
    if (camera === undefined || camera.isStored) return camera;
    await this.#options.documents.put(ANNOUNCED, id, this.#saved(camera));
    camera.isStored = true;
    return camera;
  }

  #saved(camera: AnnouncedCamera): Json {
    return saveCamera(camera, { root: this.#options.tree.root, prefix: this.#prefix });
  }

  /** Clears what is retained about a removed camera. */
  async #withdraw(id: string): Promise<void> {
    const camera = this.#cameras.get(id);
    // A new camera has sent something before its presence was published.
    if (camera?.isStored !== true) return;
    const { documents, tree, publishToMqtt } = this.#options;
    await clear(id, tree, publishToMqtt);
    await documents.delete(ANNOUNCED, id);
    this.#cameras.delete(id);
    this.changed.delete(id);
  }

  #notePresence(id: string, { state }: Entry): void {
    this.#withPicture.add(id);
    // The camera was removed. A camera that is added under its id is another one.
    if (state === "clear" && this.#cameras.get(id)?.isStored === true)
      this.#cameras.set(id, { ...newCamera(), isStored: true });
  }

  #noteCapture(id: string, entry: Entry): void {
    const camera = this.#cameras.getOrCreate(id, newCamera);
    if (camera !== undefined) this.#noteCaptureAt(id, camera, captureTimeOf(entry));
  }

  #noteCaptureAt(id: string, camera: AnnouncedCamera, at: number): void {
    if (at <= (camera.lastCapture ?? 0)) return;
    camera.lastCapture = at;
    this.#dirty.add(id);
    if (camera.isStored) this.changed.add(id);
  }
}

/** The topic, if what Home Assistant shows depends on its messages. */
function shownTopic(tree: TopicTree, name: string): Topic | undefined {
  const topic = tree.parse(name);
  switch (topic?.kind) {
    case "camera-about":
    case "camera-alert":
    case "camera-preview":
      return topic;
    case "camera-state":
      return SHOWN_STATES.has(topic.name) ? topic : undefined;
    case "camera-event":
      return topic.event === "capture.completed" ? topic : undefined;
    default:
      return undefined;
  }
}
