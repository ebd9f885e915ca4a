import type { Logger } from "pino";
import { z } from "zod";
import { DASHBOARD } from "../../contract/channels.ts";
import {
  CAMERA_ALERTS,
  captureProgressSchema,
  LINK_GAP_EVENT,
  type Link,
  linkSchema,
  type Presence,
  presenceSchema,
} from "../../contract/events.ts";
import { isBackendState, PRESENCE_STATE, type Topic, type TopicTree } from "../../contract/topics.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { DeviceStore } from "../auth/devices.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";
import {
  awaitedPresence,
  type CameraPresence,
  isAway,
  newPresence,
  nextPresence,
  type PresenceSignal,
} from "./camera-presence.ts";

/** Which cameras are there. Follows the journal and publishes what it makes of it as `state/presence`. */
export interface PresenceService {
  /** Undefined for a camera nothing was ever heard of. */
  of(camera: string): Presence | undefined;
  stop(): void;
}

export interface PresenceOptions {
  journal: Pick<Journal, "follow" | "snapshot" | "state">;
  tree: TopicTree;
  publish: Publish;
  link: Pick<BrokerLink, "connected">;
  /** How long a link may be gone before its camera is called offline, milliseconds. Default 30,000. */
  graceMs?: number;
  /** Further cameras are not followed. Default 10,000. */
  maxCameras?: number;
  /** What was published last still holds: somebody has followed the cameras until now. Default: nobody knows. */
  trusted?: boolean;
  /** When presence was last followed, by the server's clock: until then a camera that was online was there. */
  followedUntil?: number | undefined;
  /** The registered devices: a camera among them that never came is `never_seen`. Default: none. */
  devices?: Pick<DeviceStore, "list" | "onAdd">;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

interface Camera {
  presence: CameraPresence;
  /** What is to be published could not be: the next tick tries again. */
  unpublished: boolean;
  /** Seconds between captures; undefined until the camera has said so. */
  intervalS: number | undefined;
  /** False while its schedule takes no pictures. */
  active: boolean;
  nextCaptureAt: number;
  /** The last capture, or the moment from which one is expected. */
  expectedFrom: number;
  /** When the camera itself was last heard; undefined when it never was. */
  heardAt: number | undefined;
  /** It was removed and registered again, and what the removed one has left is not cleared yet. */
  addedAgain: boolean;
}

/** A backlog that is caught up says how things were, not how they are. */
const bodySchema = z.object({ data: z.unknown(), timestamp: z.string(), historical: z.boolean().optional() });
type Body = z.infer<typeof bodySchema>;
const aboutSchema = z.object({ capture_interval_s: z.number().positive() });
const LONGEST_TICK_MS = 1000;
const SHORTEST_TICK_MS = 20;
/** A camera whose clock is further from ours than this says when something will be by a clock that is wrong, milliseconds. */
const CLOCK_TOLERANCE_MS = 5 * 60_000;

export function startPresence(options: PresenceOptions): PresenceService {
  const { journal, tree, publish, link, graceMs = 30_000, maxCameras = 10_000, trusted = false, logger } = options;
  const { devices, followedUntil, now = Date.now } = options;
  const cameras = new Map<string, Camera>();
  const limitedLog = new LimitedLog();
  let full = false;

  function publishPresence(name: string, camera: Camera): void {
    camera.unpublished = false;
    const topic = { kind: "camera-state", camera: name, name: PRESENCE_STATE } as const;
    const { presence } = camera;
    // Of a camera that is there, it would be old at once.
    const heardAt = presence.status === "online" ? undefined : camera.heardAt;
    const data = toPresence(presence, heardAt, now());
    publish({ topic, event: `camera.${presence.status}`, data, retain: true }).catch((error) => {
      camera.unpublished = true;
      logger.warn({ err: error, camera: name, status: presence.status }, "presence not published, trying again");
    });
  }

  function signal(name: string, camera: Camera, what: PresenceSignal): void {
    const before = camera.presence;
    camera.presence = nextPresence(before, what, graceMs);
    const { status, since, session } = camera.presence;
    if (status === before.status && since === before.since) return;
    if (status === "online" && before.status !== "stale") camera.expectedFrom = since;
    limitedLog.note(name, (times) => logger.info({ camera: name, status, session, times }, "camera presence changed"));
    publishPresence(name, camera);
  }

  function known(name: string): Camera | undefined {
    const found = cameras.get(name);
    if (found !== undefined) return found;
    if (cameras.size >= maxCameras) {
      if (!full)
        logger.error({ maxCameras }, "more cameras than MAX_CAMERAS: the presence of further ones is not followed");
      full = true;
      return undefined;
    }
    const at = now();
    const camera: Camera = {
      presence: newPresence("unknown", at),
      unpublished: false,
      intervalS: undefined,
      active: true,
      nextCaptureAt: 0,
      expectedFrom: at,
      heardAt: undefined,
      addedAgain: false,
    };
    cameras.set(name, camera);
    return camera;
  }

  function take(entry: Entry): void {
    if (entry.camera === undefined) return;
    const topic = tree.parse(entry.topic);
    // A job that names the camera is no word of it.
    if (topic === undefined || !("camera" in topic)) return;
    // Only the backend writes it: the camera was removed.
    if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE && entry.state === "clear") {
      const { addedAgain = false } = cameras.get(entry.camera) ?? {};
      cameras.delete(entry.camera);
      if (addedAgain) expectFirst(entry.camera);
    }
    if (!isOfCamera(topic) || (!cameras.has(entry.camera) && isFarewell(topic, entry))) return;
    const camera = known(entry.camera);
    if (camera === undefined) return;
    const { presence } = camera;
    const at = now();
    const previous = camera.heardAt;
    camera.heardAt = at;
    const settled = presence.doubtUntil === undefined && !isAway(presence.status);
    // The common case, an event of a camera that is known to be there, costs no parsing.
    if (settled && !saysMore(topic)) return;
    // Written to the disk before its entry, it may come after the will of the connection that it came by.
    if (topic.kind === "camera-preview" && presence.doubtUntil !== undefined) {
      camera.heardAt = previous;
      return;
    }
    const body = bodyOf(entry);
    if (body === undefined || body.historical) return;
    if (topic.kind === "camera-link") {
      const said = linkIn(entry);
      // A will is the broker's word.
      if (said?.status === "offline") camera.heardAt = previous;
      if (said !== undefined) signal(entry.camera, camera, { type: "link", link: said, at });
      return;
    }
    expect(camera, topic, body, entry.acceptedAt, at);
    const captured = topic.kind === "camera-event" && topic.event === "capture.completed";
    if (captured) camera.expectedFrom = at;
    signal(entry.camera, camera, { type: captured ? "captured" : "heard", at });
  }

  function tick(): void {
    const at = now();
    for (const [name, camera] of cameras) {
      const connected = link.connected(`device:${name}`);
      signal(name, camera, { type: "tick", at, connected, captureDueAt: captureDueAt(camera) });
      if (camera.unpublished) publishPresence(name, camera);
    }
  }

  const unfollow = journal.follow((entries) => {
    for (const entry of entries) take(entry);
  });
  restore();
  const unlisten = devices?.onAdd(({ id, kind }) => {
    if (kind === "camera") expectFirst(id);
  });
  const timer = setInterval(tick, Math.min(LONGEST_TICK_MS, Math.max(SHORTEST_TICK_MS, graceMs / 10)));
  timer.unref();

  /** What was heard before the start says which cameras there are and what they expect, not that they are there. */
  function restore(): void {
    const startedAt = now();
    for (const entry of journal.snapshot(DASHBOARD)) {
      const topic = tree.parse(entry.topic);
      // A job may name a camera that was never heard of.
      if (entry.camera === undefined || topic === undefined || !("camera" in topic)) continue;
      const camera = known(entry.camera);
      const body = bodyOf(entry);
      if (camera === undefined || body === undefined) continue;
      expect(camera, topic, body, entry.acceptedAt, startedAt);
      if (isOfCamera(topic)) camera.heardAt = Math.max(camera.heardAt ?? 0, entry.acceptedAt);
    }
    for (const [name, camera] of cameras) restoreCamera(name, camera, startedAt);
    for (const { id, kind } of devices?.list() ?? []) if (kind === "camera" && !cameras.has(id)) expectFirst(id);
  }

  function restoreCamera(name: string, camera: Camera, startedAt: number): void {
    const last = journal.state(tree.build({ kind: "camera-link", camera: name }));
    const spoken = last === undefined ? undefined : linkIn(last);
    const said = journal.state(tree.build({ kind: "camera-state", camera: name, name: PRESENCE_STATE }));
    const before = said === undefined ? undefined : presenceIn(said);
    const connected = link.connected(`device:${name}`);
    const isNews = last !== undefined && last.position > (said?.position ?? 0);
    // It was away, and its birth is the last that was heard: of that connection, too, nobody knows whether it still is.
    const cameBack = isNews && spoken?.status === "online";
    if (last !== undefined && spoken?.status !== "offline")
      camera.heardAt = Math.max(camera.heardAt ?? 0, last.acceptedAt);
    if (said !== undefined && before !== undefined) {
      const heardAt = momentOf(before.last_heard_at, said);
      if (heardAt !== undefined) camera.heardAt = Math.max(camera.heardAt ?? 0, heardAt);
      const wasThere = before.status === "online" || before.status === "stale" || before.status === "unknown";
      // A camera that was away when the server stopped stays so, for as long as it is not heard.
      if (trusted || !(wasThere || cameBack)) {
        camera.presence = fromPublished(before, said, connected);
        // What the camera said meanwhile nobody has made anything of.
        if (spoken !== undefined && isNews) signal(name, camera, { type: "link", link: spoken, at: startedAt });
        return;
      }
      if (before.status !== "unknown" && followedUntil !== undefined)
        camera.heardAt = Math.max(camera.heardAt ?? 0, followedUntil);
    }
    const broke = said === undefined || cameBack ? undefined : momentOf(before?.offline_since, said);
    const goneSince = broke ?? camera.heardAt ?? startedAt;
    camera.presence = awaitedPresence({ session: spoken?.session, goneSince, at: startedAt }, graceMs);
    // The broker listened before this did: a camera that came in between has said its birth already.
    if (spoken?.status === "online" && connected) signal(name, camera, { type: "link", link: spoken, at: startedAt });
    // One that went to sleep, or whose will came, while nobody followed.
    else if (spoken?.status === "sleeping" && isNews)
      signal(name, camera, { type: "link", link: spoken, at: startedAt });
    else if (before?.status !== "unknown") publishPresence(name, camera);
  }

  /** It is registered: it counts, though nothing was heard of it yet. */
  function expectFirst(name: string): void {
    const before = cameras.get(name);
    if (before !== undefined) {
      before.addedAgain = true;
      return;
    }
    const camera = known(name);
    if (camera === undefined) return;
    camera.presence = newPresence("never_seen", now());
    publishPresence(name, camera);
  }

  return {
    of(name) {
      const camera = cameras.get(name);
      return camera === undefined ? undefined : toPresence(camera.presence, camera.heardAt, now());
    },
    stop() {
      clearInterval(timer);
      unlisten?.();
      unfollow();
      limitedLog.stop();
    },
  };
}

/** What was last published of a camera's presence, by whichever node. */
export function publishedPresence(
  journal: Pick<Journal, "state">,
  tree: TopicTree,
  camera: string,
): Presence | undefined {
  const said = journal.state(tree.build({ kind: "camera-state", camera, name: PRESENCE_STATE }));
  return said === undefined ? undefined : presenceIn(said);
}

function presenceIn(entry: StateEntry): Presence | undefined {
  return presenceSchema.safeParse(bodyOf(entry)?.data).data;
}

/** What a camera says of its link, by our clock. */
function linkIn(entry: StateEntry): Link | undefined {
  const body = bodyOf(entry);
  const read = linkSchema.safeParse(body?.data);
  if (!read.success || body === undefined || read.data.until === undefined) return read.data;
  return { ...read.data, until: new Date(byOurClock(read.data.until, body, entry.acceptedAt)).toISOString() };
}

/** @returns milliseconds since 1970 */
function byOurClock(moment: string, { timestamp }: { timestamp: string }, acceptedAt: number): number {
  const behindMs = acceptedAt - Date.parse(timestamp);
  return Date.parse(moment) + (Math.abs(behindMs) > CLOCK_TOLERANCE_MS ? behindMs : 0);
}

/** When something was, by the server's clock, that an entry of the backend tells by the system's. */
function momentOf(text: string, entry: StateEntry): number;
function momentOf(text: string | undefined, entry: StateEntry): number | undefined;
function momentOf(text: string | undefined, entry: StateEntry): number | undefined {
  if (text === undefined) return undefined;
  const { timestamp = text } = bodyOf(entry) ?? {};
  return entry.acceptedAt + Date.parse(text) - Date.parse(timestamp);
}

function fromPublished(published: Presence, entry: StateEntry, connected: boolean): CameraPresence {
  const { status, since, until, session, offline_since } = published;
  return {
    ...{ status, session, since: momentOf(since, entry), until: momentOf(until, entry) },
    ...{ goneSince: momentOf(offline_since, entry), doubtUntil: undefined, connected },
  };
}

const BACKEND_ALERTS: ReadonlySet<string> = new Set(CAMERA_ALERTS);

/** Whether the camera itself says it: not a command to it, nor what the backend publishes about it. */
function isOfCamera(topic: Topic): boolean {
  if (topic.kind === "camera-state") return !isBackendState(topic.name);
  if (topic.kind === "camera-alert") return !BACKEND_ALERTS.has(topic.name);
  if (topic.kind === "camera-event") return topic.event !== LINK_GAP_EVENT;
  return "camera" in topic && topic.kind !== "camera-command";
}

/** Whether the content matters even when it is known that the camera is there. */
function saysMore(topic: Topic): boolean {
  switch (topic.kind) {
    case "camera-link":
    case "camera-about":
      return true;
    case "camera-state":
      return topic.name === "capture";
    case "camera-event":
      return topic.event === "capture.completed";
    default:
      return false;
  }
}

/** Nobody comes by it: something is cleared, or a link has ended. */
function isFarewell(topic: Topic, entry: Entry): boolean {
  return entry.state === "clear" || (topic.kind === "camera-link" && linkIn(entry)?.status === "offline");
}

/** Takes note of when captures are to be expected. */
function expect(camera: Camera, topic: Topic, body: Body, acceptedAt: number, at: number): void {
  const { data } = body;
  if (topic.kind === "camera-about") {
    const about = aboutSchema.safeParse(data);
    if (!about.success) return;
    // By the shorter interval a picture is expected from now on.
    const { presence, intervalS = 0, expectedFrom } = camera;
    if (about.data.capture_interval_s < intervalS && presence.status !== "stale")
      camera.expectedFrom = Math.max(expectedFrom, at);
    camera.intervalS = about.data.capture_interval_s;
  } else if (topic.kind === "camera-state" && topic.name === "capture") {
    const progress = captureProgressSchema.safeParse(data);
    if (!progress.success) return;
    const { active, next_capture_at } = progress.data;
    if (active && !camera.active) camera.expectedFrom = at;
    camera.active = active;
    camera.nextCaptureAt = next_capture_at === undefined ? 0 : byOurClock(next_capture_at, body, acceptedAt);
  }
}

/** Two intervals after the last capture, or one after the moment the camera itself named for the next. */
function captureDueAt({ intervalS, active, expectedFrom, nextCaptureAt }: Camera): number | undefined {
  if (intervalS === undefined || !active) return undefined;
  const intervalMs = intervalS * 1000;
  return Math.max(expectedFrom + 2 * intervalMs, nextCaptureAt + intervalMs);
}

function bodyOf(entry: StateEntry): Body | undefined {
  const result = bodySchema.safeParse(JSON.parse(`{${entry.body}}`));
  return result.success ? result.data : undefined;
}

/** @param now by the server's clock, as are the moments; they are shown by the system's */
function toPresence(presence: CameraPresence, heardAt: number | undefined, now: number): Presence {
  const { status, since, until, session, goneSince } = presence;
  // In whole seconds: two clocks are never read at the same moment, and `since` of one change is one time.
  const aheadMs = Math.round((Date.now() - now) / 1000) * 1000;
  const shown = (moment: number) => new Date(moment + aheadMs).toISOString();
  return {
    status,
    since: shown(since),
    ...(until === undefined ? {} : { until: shown(until) }),
    ...(session === undefined ? {} : { session }),
    ...(heardAt === undefined ? {} : { last_heard_at: shown(heardAt) }),
    ...(goneSince === undefined ? {} : { offline_since: shown(goneSince) }),
  };
}
