import type { Logger } from "pino";
import type { Presence } from "../../contract/events.ts";
import { PRESENCE_STATE, type TopicTree } from "../../contract/topics.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { DeviceStore } from "../auth/devices.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Publish } from "../broker-link/publish.ts";
import { NO_CHANNEL } from "../journal/core/channels.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";
import { BoundedMap } from "./bounded-map.ts";
import { bodyOf, isContentNeeded, isFarewell, isOfCamera, linkIn, updateSchedule } from "./camera-messages.ts";
import {
  awaitedPresence,
  isAway,
  newPresence,
  nextPresence,
  type PresenceSignal,
  withLongerGrace,
} from "./camera-presence.ts";
import { CAMERA_DEFAULTS } from "./config.ts";
import { fromPublished, presenceIn, serverTimeOf, toPublished } from "./published-presence.ts";
import { staleAt } from "./staleness.ts";
import { newWatchedCamera, noteHeard, noteLate, type WatchedCamera } from "./watched-camera.ts";
import { startWatcher } from "./watcher.ts";
import type { WatcherRules } from "./watcher-rules.ts";

/** Which cameras are connected. Follows the journal and publishes each change as `state/presence`. */
export interface PresenceService {
  of(camera: string): Presence | undefined;
  stop(): Promise<void>;
}

export interface PresenceOptions {
  journal: Pick<Journal, "follow" | "snapshot" | "state">;
  tree: TopicTree;
  publish: Publish;
  link: Pick<BrokerLink, "connected" | "leftAt" | "isHearing">;
  /** How long a link may be down before its camera is offline, milliseconds. */
  graceMs?: number;
  /** Cameras above this number are not watched. */
  maxCameras?: number;
  /**
   * Whether the last published presence is current, because a node has watched the cameras until now. Default false.
   */
  trusted?: boolean;
  /** When presence was last watched, by the server's clock. Cameras that were online were connected until then. */
  watchedUntil?: number | undefined;
  /** The registered devices. A registered camera that never connected is `never_seen`. Default: none. */
  devices?: Pick<DeviceStore, "list" | "onAdd">;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

const MAX_CHECK_INTERVAL_MS = 1000;
const MIN_CHECK_INTERVAL_MS = 20;
/** The last watcher may have recorded a time shortly before its next check would have found that a client is missing. */
const UNSEEN_MARGIN_MS = 5_000;

export function startPresence(options: PresenceOptions): PresenceService {
  const { journal, devices, graceMs = CAMERA_DEFAULTS.presence.graceMs } = options;
  const rules = new PresenceRules(options);
  const unsubscribe = devices?.onAdd(({ id, kind }) => {
    if (kind === "camera") rules.addRegistered(id);
  });
  const watcher = startWatcher(rules, {
    journal,
    checkIntervalMs: Math.min(MAX_CHECK_INTERVAL_MS, Math.max(MIN_CHECK_INTERVAL_MS, graceMs / 10)),
    unsubscribe: unsubscribe === undefined ? [] : [unsubscribe],
    limitedLog: rules.limitedLog,
  });
  return { of: (camera) => rules.of(camera), stop: () => watcher.stop() };
}

class PresenceRules implements WatcherRules {
  readonly limitedLog = new LimitedLog();
  readonly #options: PresenceOptions & Required<Pick<PresenceOptions, "graceMs" | "maxCameras" | "now">>;
  readonly #cameras: BoundedMap<WatchedCamera>;
  #isFull = false;
  /** When the server began not to hear the cameras. Undefined while it hears them. */
  #deafSince: number | undefined;

  constructor(options: PresenceOptions) {
    this.#options = { ...CAMERA_DEFAULTS.presence, now: Date.now, ...options };
    this.#cameras = new BoundedMap(this.#options.maxCameras);
  }

  of(name: string): Presence | undefined {
    const camera = this.#cameras.get(name);
    return camera === undefined ? undefined : toPublished(camera.presence, camera.heardAt, this.#options.now());
  }

  /** Restores the cameras and their schedules. Retained topics do not show whether a camera is connected now. */
  seed(retained: readonly StateEntry[]): void {
    const { tree, devices } = this.#options;
    const startedAt = this.#options.now();
    if (this.#options.link.isHearing === false) this.#deafSince = startedAt;
    for (const entry of retained) {
      const topic = tree.parse(entry.topic);
      // A job may name a camera that never sent anything.
      if (entry.camera === undefined || topic === undefined || !("camera" in topic)) continue;
      const camera = this.#camera(entry.camera);
      const body = bodyOf(entry);
      if (camera === undefined || body === undefined) continue;
      updateSchedule(camera.schedule, { topic, body, acceptedAt: entry.acceptedAt }, { isStale: false, at: startedAt });
      if (isOfCamera(topic)) noteHeard(camera, entry.acceptedAt);
    }
    this.#addLinked();
    for (const [name, camera] of this.#cameras) this.#restore(name, camera, startedAt);
    for (const { id, kind } of devices?.list() ?? [])
      if (kind === "camera" && !this.#cameras.has(id)) this.addRegistered(id);
  }

  /**
   * Adds cameras of which only the birth may be known: the last watcher lost its lease, or the server was killed, before
   * their presence was published. A removed camera may have left a will.
   */
  #addLinked(): void {
    const { journal, tree } = this.#options;
    for (const entry of journal.snapshot(NO_CHANNEL)) {
      const topic = tree.parse(entry.topic);
      const link = topic?.kind === "camera-link" ? linkIn(entry) : undefined;
      if (entry.camera !== undefined && link !== undefined && link.status !== "offline") this.#camera(entry.camera);
    }
  }

  apply(entry: Entry): void {
    if (entry.camera === undefined) return;
    const topic = this.#options.tree.parse(entry.topic);
    if (topic === undefined || !("camera" in topic)) return;
    // Only the backend clears this topic: the camera was removed.
    if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE && entry.state === "clear") {
      const { addedAgain = false } = this.#cameras.get(entry.camera) ?? {};
      this.#cameras.delete(entry.camera);
      if (addedAgain) this.addRegistered(entry.camera);
    }
    if (!isOfCamera(topic) || (!this.#cameras.has(entry.camera) && isFarewell(topic, entry))) return;
    const camera = this.#camera(entry.camera);
    if (camera === undefined) return;
    const { presence } = camera;
    const at = this.#options.now();
    const lastHeardAt = camera.heardAt;
    camera.heardAt = at;
    if (this.#deafSince !== undefined) {
      camera.heardAt = lastHeardAt;
      noteLate(camera, topic, entry, at);
      return;
    }
    const isSettled = presence.graceEndsAt === undefined && !isAway(presence.status);
    // The common case, an event of a camera known to be online, needs no parsing.
    if (isSettled && !isContentNeeded(topic)) return;
    // A preview's entry is appended once the picture is on disk, perhaps after the will of the preview's connection.
    if (topic.kind === "camera-preview" && presence.graceEndsAt !== undefined) {
      camera.heardAt = lastHeardAt;
      return;
    }
    const body = bodyOf(entry);
    if (body === undefined || body.historical) return;
    if (topic.kind === "camera-link") {
      const link = linkIn(entry);
      // The broker sends the will, not the camera.
      if (link?.status === "offline") camera.heardAt = lastHeardAt;
      if (link !== undefined) this.#signal(entry.camera, camera, { type: "link", link, at });
      return;
    }
    const isStale = presence.status === "stale";
    updateSchedule(camera.schedule, { topic, body, acceptedAt: entry.acceptedAt }, { isStale, at });
    const isCapture = topic.kind === "camera-event" && topic.event === "capture.completed";
    if (isCapture) camera.schedule.expectedFrom = at;
    this.#signal(entry.camera, camera, { type: isCapture ? "captured" : "heard", at });
  }

  /** @returns whether the server hears the cameras. Otherwise their silence says nothing, and no grace ends. */
  #isHearing(at: number): boolean {
    const isHearing = this.#options.link.isHearing !== false;
    if (!isHearing) this.#deafSince ??= at;
    else if (this.#deafSince !== undefined) {
      this.paused(at - this.#deafSince);
      this.#deafSince = undefined;
      for (const [name, camera] of this.#cameras) this.#hearAgain(name, camera, at);
    }
    return isHearing;
  }

  /** Applies the camera's newest link, which the journal may have had for long. */
  #hearAgain(name: string, camera: WatchedCamera, at: number): void {
    const { isHeardLate } = camera;
    camera.isHeardLate = false;
    const { link } = this.#lastPublished(name);
    if (link === undefined) {
      if (isHeardLate) this.#signal(name, camera, { type: "heard", at });
      return;
    }
    // To repeat a farewell that is known would wake a camera that overslept.
    if (link.status === "sleeping" && camera.presence.session === link.session && !isHeardLate) return;
    const isLost = link.status === "online" && !this.#isConnected(name);
    const status = isLost ? "offline" : link.status;
    this.#signal(name, camera, { type: "link", link: { ...link, status }, at });
    const { presence, heardAt } = camera;
    // The link broke before now, at the earliest when the camera was last heard.
    if (status === "offline" && presence.graceEndsAt !== undefined && heardAt !== undefined)
      camera.presence = { ...presence, offlineSince: Math.min(presence.offlineSince ?? at, heardAt) };
  }

  check(): void {
    const at = this.#options.now();
    if (!this.#isHearing(at)) return;
    for (const [name, camera] of this.#cameras) {
      const connected = this.#isConnected(name);
      if (connected && !camera.presence.connected && camera.presence.status === "offline")
        this.#noteReturn(name, camera, at);
      this.#signal(name, camera, { type: "tick", at, connected, staleAt: staleAt(camera.schedule) });
      if (camera.unpublished) this.#publish(name, camera);
    }
  }

  /**
   * The connection of an offline camera is there again, without a new birth: its node was frozen, and taken for dead. A
   * camera whose will was published sends a birth first.
   */
  #noteReturn(name: string, camera: WatchedCamera, at: number): void {
    const { link } = this.#lastPublished(name);
    if (link?.status === "online") this.#signal(name, camera, { type: "link", link, at });
  }

  /** A camera that has returned during the pause must not be offline because nobody has read its birth. */
  paused(milliseconds: number): void {
    for (const [, camera] of this.#cameras) camera.presence = withLongerGrace(camera.presence, milliseconds);
  }

  /** Adds a registered camera, whose presence is known before its first message. */
  addRegistered(name: string): void {
    const known = this.#cameras.get(name);
    if (known !== undefined) {
      known.addedAgain = true;
      return;
    }
    const camera = this.#camera(name);
    if (camera === undefined) return;
    camera.presence = newPresence("never_seen", this.#options.now());
    this.#publish(name, camera);
  }

  #restore(name: string, camera: WatchedCamera, startedAt: number): void {
    const { trusted = false, watchedUntil, graceMs } = this.#options;
    const { linkEntry, link, publishedEntry, published } = this.#lastPublished(name);
    const connected = this.#isConnected(name);
    const isNewLink = linkEntry !== undefined && linkEntry.position > (publishedEntry?.position ?? 0);
    // The camera reconnected after its presence was last published. This connection may have ended since.
    const cameBack = isNewLink && link?.status === "online";
    if (linkEntry !== undefined && link?.status !== "offline") noteHeard(camera, linkEntry.acceptedAt);
    if (publishedEntry !== undefined && published !== undefined) {
      noteHeard(camera, serverTimeOf(published.last_heard_at, publishedEntry));
      const wasThere = published.status === "online" || published.status === "stale" || published.status === "unknown";
      // A camera that was away when the server stopped stays away until it is heard.
      if (trusted || !(wasThere || cameBack)) {
        // A camera without a will that disconnected when nobody watched was connected until then.
        camera.presence = fromPublished(published, publishedEntry, connected || this.#hasLeftUnseen(name));
        // No watcher has handled a new link message yet. A camera that is connected was published as offline by a watcher
        // that did not know of its connection.
        const isNews = isNewLink || (connected && link?.status === "online");
        if (link !== undefined && isNews) this.#signal(name, camera, { type: "link", link, at: startedAt });
        return;
      }
      if (published.status !== "unknown") noteHeard(camera, watchedUntil);
    }
    const brokeAt =
      publishedEntry === undefined || cameBack ? undefined : serverTimeOf(published?.offline_since, publishedEntry);
    const offlineSince = brokeAt ?? camera.heardAt ?? startedAt;
    camera.presence = awaitedPresence({ session: link?.session, offlineSince, at: startedAt }, graceMs);
    // The broker starts before this watcher, so the camera may already have sent its birth or announced its sleep. If
    // another node has watched until now, it has had no time to publish the presence of this camera.
    const isNews = (link?.status === "online" && (connected || trusted)) || (link?.status === "sleeping" && isNewLink);
    if (link !== undefined && isNews) this.#signal(name, camera, { type: "link", link, at: startedAt });
    else if (published?.status !== "unknown") this.#publish(name, camera);
  }

  #lastPublished(camera: string) {
    const { journal, tree } = this.#options;
    const linkEntry = journal.state(tree.build({ kind: "camera-link", camera }));
    const publishedEntry = journal.state(tree.build({ kind: "camera-state", camera, name: PRESENCE_STATE }));
    return {
      linkEntry,
      link: linkEntry === undefined ? undefined : linkIn(linkEntry),
      publishedEntry,
      published: publishedEntry === undefined ? undefined : presenceIn(publishedEntry),
    };
  }

  #signal(name: string, camera: WatchedCamera, signal: PresenceSignal): void {
    const before = camera.presence;
    camera.presence = nextPresence(before, signal, this.#options.graceMs);
    const { status, since, session } = camera.presence;
    if (status === before.status && since === before.since) return;
    if (status === "online" && before.status !== "stale") camera.schedule.expectedFrom = since;
    this.limitedLog.note(name, (times) =>
      this.#options.logger.info({ camera: name, status, session, times }, "camera presence changed"),
    );
    this.#publish(name, camera);
  }

  #publish(name: string, camera: WatchedCamera): void {
    const { publish, logger } = this.#options;
    camera.unpublished = false;
    const topic = { kind: "camera-state", camera: name, name: PRESENCE_STATE } as const;
    const { presence } = camera;
    // An online camera's presence has no `heardAt`, because the time would be outdated at once.
    const heardAt = presence.status === "online" ? undefined : camera.heardAt;
    const data = toPublished(presence, heardAt, this.#options.now());
    publish({ topic, event: `camera.${presence.status}`, data, retain: true }).catch((error) => {
      camera.unpublished = true;
      logger.warn({ err: error, camera: name, status: presence.status }, "presence not published, retrying");
    });
  }

  #isConnected(camera: string): boolean {
    return this.#options.link.connected(`device:${camera}`);
  }

  /** Whether the camera's client has disconnected since presence was last watched. */
  #hasLeftUnseen(camera: string): boolean {
    const { link, watchedUntil = 0 } = this.#options;
    const leftAt = link.leftAt?.(`device:${camera}`);
    return leftAt !== undefined && leftAt > watchedUntil - UNSEEN_MARGIN_MS;
  }

  #camera(name: string): WatchedCamera | undefined {
    const camera = this.#cameras.getOrCreate(name, () => newWatchedCamera(this.#options.now()));
    if (camera !== undefined || this.#isFull) return camera;
    this.#isFull = true;
    const { logger, maxCameras } = this.#options;
    logger.error({ maxCameras }, "more cameras than MAX_CAMERAS: the presence of further cameras is not watched");
    return undefined;
  }
}
