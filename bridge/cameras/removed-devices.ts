import type { Logger } from "pino";
import { DASHBOARD } from "../../contract/channels.ts";
import { PRESENCE_STATE, type Topic, type TopicTree } from "../../contract/topics.ts";
import { type DeviceStore, REMOVALS, type Removal, removalSchema } from "../auth/devices.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { BackendEvent, Publish } from "../broker-link/publish.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import type { Entry, Journal } from "../journal/journal.ts";
import { eventIdOf } from "./event-id.ts";
import { PublishQueue } from "./publish-queue.ts";
import { startWatcher, type Watcher } from "./watcher.ts";
import type { WatcherRules } from "./watcher-rules.ts";

interface RemovedDevicesOptions {
  journal: Pick<Journal, "epoch" | "follow" | "snapshot" | "state">;
  documents: Pick<Documents, "get" | "list" | "delete" | "watch">;
  devices: Pick<DeviceStore, "get" | "onChange">;
  tree: TopicTree;
  publish: Publish;
  link: Pick<BrokerLink, "publish" | "retainedBelow">;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

type Retained = Exclude<Topic, { kind: "camera-other" | "service-other" }>;

/** How long late messages are also cleared, such as wills from a restarted broker, milliseconds. */
const LINGER_MS = 600_000;
/** The broker's retained messages are checked this long after a clearing, milliseconds. */
const BROKER_CHECKS_MS = [250, 1_000, 5_000];
/** Milliseconds between two checks of all removed devices, which retry what failed during a store outage. */
const CHECK_INTERVAL_MS = 60_000;

/**
 * Clears the retained topics of removed devices. Otherwise a camera that was sold would stay offline for ever, and its
 * alerts would never end. A device that is added again under the same id starts without the old topics.
 * @throws {StoreUnavailableError} the removed devices cannot be read
 */
export async function startRemovedDevices(options: RemovedDevicesOptions): Promise<Watcher> {
  const { journal, documents, devices } = options;
  const rules = new RemovedDeviceRules(options);
  const watcher = startWatcher(rules, {
    journal,
    checkIntervalMs: CHECK_INTERVAL_MS,
    unsubscribe: [documents.watch(REMOVALS, (id) => rules.reload(id)), devices.onChange((id) => void rules.clear(id))],
  });
  try {
    await rules.load();
  } catch (error) {
    await watcher.stop();
    throw error;
  }
  return watcher;
}

class RemovedDeviceRules implements WatcherRules {
  readonly #options: RemovedDevicesOptions;
  readonly #queue: PublishQueue;
  readonly #now: () => number;
  readonly #removals = new Map<string, Removal>();
  readonly #brokerChecks = new Map<string, NodeJS.Timeout[]>();
  #isStopped = false;

  constructor(options: RemovedDevicesOptions) {
    const { publish, logger, now = Date.now } = options;
    this.#options = options;
    this.#now = now;
    this.#queue = new PublishQueue({ publish, logger });
  }

  async load(): Promise<void> {
    const removals = await this.#options.documents.list(REMOVALS);
    this.#removals.clear();
    for (const { key, value } of removals) this.#add(key, value);
  }

  /** @param id undefined if the removal of any device may have changed */
  reload(id: string | undefined): void {
    this.#retryLater(id === undefined ? this.load() : this.#loadOne(id));
  }

  apply({ topic: name, state }: Entry): void {
    if (this.#removals.size === 0 || state !== "set") return;
    const owner = ownerOf(this.#options.tree.parse(name));
    const topic = owner === undefined ? undefined : this.#topicOf(owner, name);
    if (owner === undefined || topic === undefined) return;
    void this.#queue.add(() => this.#clearing(owner, topic));
    this.#scheduleBrokerChecks(owner);
  }

  check(): void {
    this.#retryLater(this.#checkAll());
  }

  async settle(): Promise<void> {
    this.#isStopped = true;
    for (const id of [...this.#brokerChecks.keys()]) this.#endBrokerChecks(id);
    await this.#queue.stop();
  }

  /** Clears a device's retained topics, if the device was removed. @returns whether nothing is left to clear */
  async clear(id: string): Promise<boolean> {
    const removal = this.#removals.get(id);
    if (removal === undefined) return true;
    const topics = this.#options.journal.snapshot(DASHBOARD).flatMap(({ topic }) => this.#topicOf(id, topic) ?? []);
    topics.push(linkOf(id, removal.kind));
    // Presence first: the other watchers drop a camera when its presence is cleared.
    topics.sort((one, other) => Number(isPresence(other)) - Number(isPresence(one)));
    const cleared = await Promise.all(topics.map((topic) => this.#queue.add(() => this.#clearing(id, topic))));
    this.#scheduleBrokerChecks(id);
    return cleared.every((isCleared) => isCleared);
  }

  async #checkAll(): Promise<void> {
    await this.load();
    for (const [id, { removedAt }] of this.#removals) {
      if (!(await this.clear(id)) || Date.now() < removedAt + LINGER_MS) continue;
      this.#removals.delete(id);
      this.#endBrokerChecks(id);
      await this.#options.documents.delete(REMOVALS, id);
    }
  }

  async #loadOne(id: string): Promise<void> {
    const found = await this.#options.documents.get(REMOVALS, id);
    if (found !== undefined) this.#add(id, found.value);
  }

  #add(id: string, value: Json): void {
    const removal = removalSchema.safeParse(value).data;
    if (removal === undefined) return;
    this.#removals.set(id, removal);
    void this.clear(id);
  }

  #retryLater(work: Promise<void>): void {
    void work.catch((error: unknown) =>
      this.#options.logger.debug({ err: error }, "removed devices not checked, retrying"),
    );
  }

  /** Messages accepted before this time are from the removed device; -Infinity while the removal is not complete. */
  #endOf(id: string): number {
    const removal = this.#removals.get(id);
    if (removal === undefined) return Number.NEGATIVE_INFINITY;
    const device = this.#options.devices.get(id);
    if (device === undefined) return Number.POSITIVE_INFINITY;
    return device.changedAt >= removal.removedAt ? removal.removedAt : Number.NEGATIVE_INFINITY;
  }

  #topicOf(id: string, name: string): Retained | undefined {
    const topic = this.#options.tree.parse(name);
    if (topic === undefined || topic.kind === "camera-other" || topic.kind === "service-other") return undefined;
    const kind = "camera" in topic ? "camera" : "processing";
    return ownerOf(topic) === id && kind === this.#removals.get(id)?.kind ? topic : undefined;
  }

  /** The event that clears a topic; undefined if the topic does not belong to the removed device. */
  #clearing(id: string, topic: Retained): BackendEvent | undefined {
    const { journal, tree } = this.#options;
    const name = tree.build(topic);
    const retained = journal.state(name);
    // The times in the device store are by the system's clock.
    const aheadMs = Date.now() - this.#now();
    if (retained === undefined || retained.acceptedAt + aheadMs >= this.#endOf(id)) return undefined;
    const isAlert = topic.kind === "camera-alert" || topic.kind === "service-alert";
    return {
      ...{ topic, event: isAlert ? "alert.cleared" : "state.cleared", data: null, retain: true },
      id: eventIdOf("forgotten", journal.epoch, name, retained.position),
    };
  }

  /**
   * Clears topics that the broker retains although the journal has no state for them. This happens when one node
   * forwards a device's message to the broker after another node has forwarded the clearing of the topic.
   */
  async #clearBroker(id: string): Promise<void> {
    const { tree, devices, link, journal } = this.#options;
    const kind = this.#removals.get(id)?.kind;
    // A new message of a device that was added again may reach the broker before it reaches this node's journal.
    if (kind === undefined || devices.get(id) !== undefined) return;
    const linkTopic = tree.build(linkOf(id, kind));
    const below = linkTopic.slice(0, linkTopic.lastIndexOf("/"));
    for (const topic of link.retainedBelow?.(below) ?? []) {
      if (journal.state(topic) === undefined)
        await link.publish({ topic, payload: Buffer.alloc(0), qos: 1, retain: true });
    }
  }

  #scheduleBrokerChecks(id: string): void {
    this.#endBrokerChecks(id);
    if (this.#isStopped) return;
    const timers = BROKER_CHECKS_MS.map((ms) => setTimeout(() => this.#retryLater(this.#clearBroker(id)), ms).unref());
    this.#brokerChecks.set(id, timers);
  }

  #endBrokerChecks(id: string): void {
    for (const timer of this.#brokerChecks.get(id) ?? []) clearTimeout(timer);
    this.#brokerChecks.delete(id);
  }
}

function linkOf(id: string, kind: Removal["kind"]) {
  return kind === "camera"
    ? ({ kind: "camera-link", camera: id } as const)
    : ({ kind: "service-link", service: id } as const);
}

function ownerOf(topic: Topic | undefined): string | undefined {
  if (topic === undefined) return undefined;
  return "camera" in topic ? topic.camera : "service" in topic ? topic.service : undefined;
}

function isPresence(topic: Topic): boolean {
  return topic.kind === "camera-state" && topic.name === PRESENCE_STATE;
}
