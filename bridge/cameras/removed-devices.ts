import type { Logger } from "pino";
import { DASHBOARD } from "../../contract/channels.ts";
import { PRESENCE_STATE, type Topic, type TopicTree } from "../../contract/topics.ts";
import { type DeviceStore, REMOVALS, type Removal, removalSchema } from "../auth/devices.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { OwnMessage, Publish } from "../broker-link/publish.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import type { Journal, StateEntry } from "../journal/journal.ts";
import { Announcer } from "./announcer.ts";
import { eventIdOf } from "./event-id.ts";

export interface RemovedDevicesOptions {
  journal: Pick<Journal, "epoch" | "follow" | "snapshot" | "state">;
  documents: Pick<Documents, "get" | "list" | "delete" | "watch">;
  devices: Pick<DeviceStore, "get" | "onChange">;
  tree: TopicTree;
  publish: Publish;
  link: Pick<BrokerLink, "publish" | "retainedBelow">;
  /** For so long what still comes of a removed device is cleared, too: wills of a broker that died. Default 600,000. */
  lingerMs?: number;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

type Retained = Exclude<Topic, { kind: "camera-other" | "service-other" }>;

/** When the broker is asked, after something was cleared, whether it retains what it should not, milliseconds. */
const CHECKS_MS = [250, 1_000, 5_000];
/** Between two looks at all of them, milliseconds: for what a store that was away has kept from being done. */
const LOOK_MS = 60_000;

/**
 * Clears what is retained of devices that were removed: its owner will not come back to do so. Otherwise a camera that
 * was sold would be offline for ever, and an alert about it could never end. One that is added again under the same id
 * begins with nothing.
 * @throws {StoreUnavailableError} it could not begin
 */
export async function watchRemovedDevices(options: RemovedDevicesOptions): Promise<{ stop(): Promise<void> }> {
  const { journal, documents, devices, tree, publish, link, lingerMs = 600_000, now = Date.now, logger } = options;
  const announcer = new Announcer({ publish, logger });
  const removals = new Map<string, Removal>();
  /** By device. */
  const checks = new Map<string, NodeJS.Timeout[]>();

  function note(id: string, value: Json): void {
    const read = removalSchema.safeParse(value);
    if (!read.success) return;
    removals.set(id, read.data);
    void forget(id);
  }

  /** What was accepted before this is of the device that was removed; -Infinity while it is not removed yet. */
  function endOf(id: string): number {
    const removal = removals.get(id);
    if (removal === undefined) return Number.NEGATIVE_INFINITY;
    const device = devices.get(id);
    if (device === undefined) return Number.POSITIVE_INFINITY;
    return device.changedAt >= removal.removedAt ? removal.removedAt : Number.NEGATIVE_INFINITY;
  }

  /** @returns whether nothing is left to be done */
  async function forget(id: string): Promise<boolean> {
    const removal = removals.get(id);
    if (removal === undefined) return true;
    const topics = journal.snapshot(DASHBOARD).flatMap(({ topic }) => topicOf(id, topic) ?? []);
    topics.push(linkOf(id, removal.kind));
    // Presence first: to those who follow the journal it ends the camera.
    topics.sort((one, other) => Number(isPresence(other)) - Number(isPresence(one)));
    const done = await Promise.all(topics.map((topic) => announcer.say(() => clearing(id, topic))));
    checkSoon(id);
    return done.every((said) => said);
  }

  /** When it was accepted, by the system's clock as it is now: by that, devices are added and removed. */
  function wallOf({ acceptedAt }: StateEntry): number {
    return acceptedAt + Date.now() - now();
  }

  /**
   * The broker may retain what the journal knows to be cleared: a message of the device that was accepted before the
   * clearing, by one node, can be forwarded after it, which another node forwards. No entry of the journal clears that.
   */
  async function clearStrays(id: string): Promise<void> {
    const kind = removals.get(id)?.kind;
    // Of one that is added again, this node may know the message later than the broker.
    if (kind === undefined || devices.get(id) !== undefined) return;
    const linkTopic = tree.build(linkOf(id, kind));
    const below = linkTopic.slice(0, linkTopic.lastIndexOf("/"));
    for (const topic of link.retainedBelow?.(below) ?? []) {
      if (journal.state(topic) === undefined)
        await link.publish({ topic, payload: Buffer.alloc(0), qos: 1, retain: true });
    }
  }

  function checkSoon(id: string): void {
    endChecks(id);
    const timers = CHECKS_MS.map((ms) => setTimeout(() => tried(clearStrays(id)), ms).unref());
    checks.set(id, timers);
  }

  function endChecks(id: string): void {
    for (const check of checks.get(id) ?? []) clearTimeout(check);
    checks.delete(id);
  }

  function topicOf(id: string, name: string): Retained | undefined {
    const topic = tree.parse(name);
    if (topic === undefined || topic.kind === "camera-other" || topic.kind === "service-other") return undefined;
    return ownerOf(topic) === id && kindOf(topic) === removals.get(id)?.kind ? topic : undefined;
  }

  function clearing(id: string, topic: Retained): OwnMessage | undefined {
    const name = tree.build(topic);
    const standing = journal.state(name);
    if (standing === undefined || wallOf(standing) >= endOf(id)) return undefined;
    const isAlert = topic.kind === "camera-alert" || topic.kind === "service-alert";
    return {
      ...{ topic, event: isAlert ? "alert.cleared" : "state.cleared", data: null, retain: true },
      id: eventIdOf("forgotten", journal.epoch, name, standing.position),
    };
  }

  async function readAll(): Promise<void> {
    const listed = await documents.list(REMOVALS);
    removals.clear();
    for (const { key, value } of listed) note(key, value);
  }

  async function look(): Promise<void> {
    await readAll();
    for (const [id, { removedAt }] of removals) {
      if (!(await forget(id)) || Date.now() < removedAt + lingerMs) continue;
      removals.delete(id);
      endChecks(id);
      await documents.delete(REMOVALS, id);
    }
  }

  const tried = (work: Promise<unknown>) =>
    void work.catch((error: unknown) => logger.debug({ err: error }, "removed devices not read, trying again"));
  const unwatch = documents.watch(REMOVALS, (id) => {
    if (id === undefined) tried(readAll());
    else tried(documents.get(REMOVALS, id).then((found) => found !== undefined && note(id, found.value)));
  });
  const unlisten = devices.onChange((id) => void forget(id));
  const unfollow = journal.follow((entries) => {
    if (removals.size === 0) return;
    for (const { topic: name, state } of entries) {
      const owner = state === "set" ? ownerOf(tree.parse(name)) : undefined;
      const topic = owner === undefined ? undefined : topicOf(owner, name);
      if (owner === undefined || topic === undefined) continue;
      void announcer.say(() => clearing(owner, topic));
      checkSoon(owner);
    }
  });
  const timer = setInterval(() => tried(look()), Math.min(LOOK_MS, lingerMs));
  timer.unref();
  const stop = async () => {
    clearInterval(timer);
    for (const id of [...checks.keys()]) endChecks(id);
    unwatch();
    unlisten();
    unfollow();
    await announcer.stop();
  };
  try {
    await readAll();
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
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

function kindOf(topic: Topic): Removal["kind"] {
  return "camera" in topic ? "camera" : "processing";
}

function isPresence(topic: Topic): boolean {
  return topic.kind === "camera-state" && topic.name === PRESENCE_STATE;
}
