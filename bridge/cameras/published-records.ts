import type { Logger } from "pino";
import { PRESENCE_STATE, RECORD_STATE, type TopicTree } from "../../contract/topics.ts";
import type { BackendEvent, Publish } from "../broker-link/publish.ts";
import { dataOf } from "../journal/entry-body.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";
import type { CameraRecords } from "./camera-records.ts";
import { PublishQueue } from "./publish-queue.ts";
import { startWatcher, type Watcher } from "./watcher.ts";
import type { WatcherRules } from "./watcher-rules.ts";

/** Milliseconds between two comparisons of all cameras, which repair what a lost journal left out. */
const CHECK_INTERVAL_MS = 60_000;

interface PublishedRecordsOptions {
  journal: Pick<Journal, "follow" | "snapshot" | "state">;
  records: Pick<CameraRecords, "get" | "cameras" | "onChange">;
  tree: TopicTree;
  publish: Publish;
  logger: Logger;
}

/**
 * Publishes the records of cameras as their state `record`, so that open dashboards show a change at once, to the
 * readers of the camera only. The store has the records; the journal has a copy.
 */
export function startPublishedRecords(options: PublishedRecordsOptions): Watcher {
  const rules = new PublishedRecordRules(options);
  const unsubscribe = options.records.onChange((cameras) => rules.update(cameras));
  return startWatcher(rules, {
    journal: options.journal,
    checkIntervalMs: CHECK_INTERVAL_MS,
    unsubscribe: [unsubscribe],
  });
}

class PublishedRecordRules implements WatcherRules {
  readonly #options: PublishedRecordsOptions;
  readonly #queue: PublishQueue;
  /** Cameras with a published record. */
  readonly #published = new Set<string>();
  /** Cameras to compare. */
  readonly #pending = new Set<string>();
  #isPublishing = false;

  constructor(options: PublishedRecordsOptions) {
    this.#options = options;
    this.#queue = new PublishQueue(options);
  }

  seed(retained: readonly StateEntry[]): void {
    for (const { topic } of retained) this.#note(topic, "set");
    this.update(undefined);
  }

  apply({ topic, state }: Entry): void {
    const camera = this.#note(topic, state);
    // A camera that appears may have a record already, for example because a group lists it.
    if (camera !== undefined) this.update([camera]);
  }

  check(): void {
    this.update(undefined);
  }

  async settle(): Promise<void> {
    await this.#queue.stop();
  }

  /** @param cameras undefined: all */
  update(cameras: readonly string[] | undefined): void {
    for (const camera of cameras ?? [...this.#published, ...this.#options.records.cameras()]) this.#pending.add(camera);
    if (!this.#isPublishing) void this.#publishPending();
  }

  async #publishPending(): Promise<void> {
    this.#isPublishing = true;
    for (const camera of this.#pending) {
      // Removed first: a change during the publication adds the camera again.
      this.#pending.delete(camera);
      if (this.#change(camera) !== undefined) await this.#queue.add(() => this.#change(camera));
    }
    this.#isPublishing = false;
  }

  /** @returns the camera, if the topic is its presence or its record */
  #note(name: string, state: Entry["state"]): string | undefined {
    // Runs for every event: most topics end otherwise, and need no parsing.
    if (!name.endsWith(RECORD_STATE) && !name.endsWith(PRESENCE_STATE)) return undefined;
    const topic = this.#options.tree.parse(name);
    if (topic?.kind !== "camera-state") return undefined;
    if (topic.name === RECORD_STATE && state === "set") this.#published.add(topic.camera);
    else if (topic.name === RECORD_STATE && state === "clear") this.#published.delete(topic.camera);
    return topic.camera;
  }

  /** The event that makes the published record equal to the stored one; undefined if it is equal. */
  #change(camera: string): BackendEvent | undefined {
    const { journal, tree, records } = this.#options;
    const topic = { kind: "camera-state", camera, name: RECORD_STATE } as const;
    const published = journal.state(tree.build(topic));
    // A group may list a camera that does not exist. To publish its record would make the camera appear.
    const exists = journal.state(tree.build({ ...topic, name: PRESENCE_STATE })) !== undefined;
    const wanted = exists ? records.get(camera) : undefined;
    if (wanted === undefined)
      return published === undefined ? undefined : { topic, event: "state.cleared", data: null, retain: true };
    if (published !== undefined && JSON.stringify(dataOf(published)) === JSON.stringify(wanted)) return undefined;
    return { topic, event: "camera.record", data: wanted, retain: true };
  }
}
