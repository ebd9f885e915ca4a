import type { Logger } from "pino";
import { z } from "zod";
import { DASHBOARD } from "../contract/channels.ts";
import {
  CAMERA_ALERTS,
  captureProgressSchema,
  LINK_GAP_EVENT,
  type Link,
  linkSchema,
  type Presence,
  presenceSchema,
} from "../contract/events.ts";
import { isBackendState, PRESENCE_STATE, type Topic, type TopicTree } from "../contract/topics.ts";
import type { BrokerLink } from "./broker-link/broker-link.ts";
import { type CameraPresence, nextPresence, type PresenceSignal, unknownPresence } from "./camera-presence.ts";
import type { Entry, Journal, StateEntry } from "./journal/journal.ts";
import type { Publish } from "./publish.ts";

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
  const cameras = new Map<string, Camera>();
  let full = false;

  function publishPresence(name: string, camera: Camera): void {
    camera.unpublished = false;
    const topic = { kind: "camera-state", camera: name, name: PRESENCE_STATE } as const;
    const { presence } = camera;
    publish({ topic, event: `camera.${presence.status}`, data: toPresence(presence), retain: true }).catch((error) => {
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
    logger.info({ camera: name, status, session }, "camera presence changed");
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
    const now = Date.now();
    const camera: Camera = {
      presence: unknownPresence(undefined, now),
      unpublished: false,
      intervalS: undefined,
      active: true,
      nextCaptureAt: 0,
      expectedFrom: now,
    };
    cameras.set(name, camera);
    return camera;
  }

  function take(entry: Entry): void {
    if (entry.camera === undefined) return;
    const topic = tree.parse(entry.topic);
    if (topic === undefined) return;
    // Only the backend writes it: the camera was removed.
    if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE && entry.state === "clear")
      cameras.delete(entry.camera);
    if (!isOfCamera(topic) || (!cameras.has(entry.camera) && isFarewell(topic, entry))) return;
    const camera = known(entry.camera);
    if (camera === undefined) return;
    const { presence } = camera;
    const settled = presence.doubtUntil === undefined && presence.status !== "unknown" && presence.status !== "offline";
    // The common case, an event of a camera that is known to be there, costs no parsing.
    if (settled && !saysMore(topic)) return;
    // Written to the disk before its entry, it may come after the will of the connection that it came by.
    if (topic.kind === "camera-preview" && presence.doubtUntil !== undefined) return;
    const body = bodyOf(entry);
    if (body === undefined || body.historical) return;
    const at = Date.now();
    if (topic.kind === "camera-link") {
      const said = linkIn(entry);
      if (said !== undefined) signal(entry.camera, camera, { type: "link", link: said, at });
      return;
    }
    expect(camera, topic, body, entry.acceptedAt, at);
    const captured = topic.kind === "camera-event" && topic.event === "capture.completed";
    if (captured) camera.expectedFrom = at;
    signal(entry.camera, camera, { type: captured ? "captured" : "heard", at });
  }

  function tick(): void {
    const at = Date.now();
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
  const timer = setInterval(tick, Math.min(LONGEST_TICK_MS, Math.max(SHORTEST_TICK_MS, graceMs / 10)));
  timer.unref();

  /** What was heard before the start says which cameras there are and what they expect, not that they are there. */
  function restore(): void {
    const startedAt = Date.now();
    for (const entry of journal.snapshot(DASHBOARD)) {
      const topic = tree.parse(entry.topic);
      if (entry.camera === undefined || topic === undefined) continue;
      const camera = known(entry.camera);
      const body = bodyOf(entry);
      if (camera !== undefined && body !== undefined) expect(camera, topic, body, entry.acceptedAt, startedAt);
    }
    for (const [name, camera] of cameras) {
      const last = journal.state(tree.build({ kind: "camera-link", camera: name }));
      const spoken = last === undefined ? undefined : linkIn(last);
      const said = journal.state(tree.build({ kind: "camera-state", camera: name, name: PRESENCE_STATE }));
      const published = trusted && said !== undefined ? presenceIn(said) : undefined;
      if (published !== undefined && said !== undefined) {
        camera.presence = fromPublished(published, link.connected(`device:${name}`));
        // What the camera said meanwhile nobody has made anything of.
        if (spoken !== undefined && last !== undefined && last.position > said.position)
          signal(name, camera, { type: "link", link: spoken, at: startedAt });
        continue;
      }
      camera.presence = unknownPresence(spoken?.session, startedAt);
      // The broker listened before this did: a camera that came in between has said its birth already.
      if (spoken?.status === "online" && link.connected(`device:${name}`)) {
        signal(name, camera, { type: "link", link: spoken, at: startedAt });
        continue;
      }
      if (said === undefined || presenceIn(said)?.status !== "unknown") publishPresence(name, camera);
    }
  }

  return {
    of(name) {
      const camera = cameras.get(name);
      return camera === undefined ? undefined : toPresence(camera.presence);
    },
    stop() {
      clearInterval(timer);
      unfollow();
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

function fromPublished({ status, since, until, session }: Presence, connected: boolean): CameraPresence {
  const untilMs = until === undefined ? undefined : Date.parse(until);
  return { status, session, since: Date.parse(since), until: untilMs, doubtUntil: undefined, connected };
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

function toPresence({ status, since, until, session }: CameraPresence): Presence {
  return {
    status,
    since: new Date(since).toISOString(),
    ...(until === undefined ? {} : { until: new Date(until).toISOString() }),
    ...(session === undefined ? {} : { session }),
  };
}
