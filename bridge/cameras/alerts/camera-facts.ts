import { z } from "zod";
import {
  captureProgressSchema,
  type Presence,
  powerSchema,
  presenceSchema,
  storageSchema,
} from "../../../contract/events.ts";
import { PRESENCE_STATE, type Topic } from "../../../contract/topics.ts";
import type { Json } from "../../cluster/cluster.ts";
import { dataOf, endOf } from "../../journal/entry-body.ts";
import type { StateEntry } from "../../journal/journal.ts";
import { type AlertThresholds, DISK_RELIEF } from "./config.ts";

/** When an entry was accepted, and its journal position. An alert's id depends on the position of its cause. */
export interface Moment {
  /** Milliseconds since 1970. */
  at: number;
  position: number;
}

interface DiskUsage {
  percent: number;
  measured: Moment;
  /** When the usage last crossed a limit, milliseconds since 1970. */
  since: number;
  /** The limit above which the camera raises the alert itself, percent. Undefined: only the backend raises it. */
  ownLimit: number | undefined;
}

export interface CameraFacts {
  presence: Presence["status"];
  presenceSince: number;
  presencePosition: number;
  /** When the link broke or the camera overslept. Undefined while it is connected, asleep as announced, or unknown. */
  offlineSince: number | undefined;
  /** The charge of a battery or solar camera, percent; undefined for other cameras. */
  batteryLeft: number | undefined;
  batteryPosition: number;
  /** The position at which the camera last became online. Captures at higher positions came later. */
  connectedPosition: number;
  /** Whether the camera's schedule takes pictures now; undefined if the camera does not publish this. */
  active: boolean | undefined;
  /** Milliseconds between two captures; 0 while unknown. */
  intervalMs: number;
  intervalPosition: number;
  /** The last capture, or the time since which captures are expected. */
  expectedFrom: Moment;
  disk: DiskUsage | undefined;
  /** Why the disk accepts no writes, and the first message that reported it; undefined while it accepts writes. */
  unwritable: { reason: string; reported: Moment } | undefined;
  /** The disk usage at which the camera itself raised the alert, percent. Set only if the camera publishes no limit. */
  ownAlertPercent: number | undefined;
  /** The last captures, oldest first: `1` for a failed one, `0` for a completed one. */
  captures: string;
  /** The position of the last failed capture. */
  failedAt: number;
}

/** These field names are on disk and in Redis: they must not change. */
const savedSchema = z.object({
  expectedFrom: z.object({ at: z.number(), position: z.number() }),
  captures: z.string().regex(/^[01]*$/),
  failedAt: z.number(),
  ownAlertAt: z.number().optional(),
});

/** @param fresh the moment since which captures are expected, unless a message says otherwise */
export function unknownCamera(fresh: Moment): CameraFacts {
  const { at, position } = fresh;
  const unknown = { active: undefined, disk: undefined, unwritable: undefined, ownAlertPercent: undefined };
  return {
    ...{ presence: "unknown", presenceSince: at, presencePosition: position, offlineSince: undefined },
    ...{ batteryLeft: undefined, batteryPosition: position, connectedPosition: position },
    ...{ intervalMs: 0, intervalPosition: 0, expectedFrom: fresh, captures: "", failedAt: 0 },
    ...unknown,
  };
}

/** The facts to save: those that no retained topic holds. */
export function saveCamera({ expectedFrom, captures, failedAt, ownAlertPercent }: CameraFacts): Json {
  return {
    ...{ expectedFrom: { ...expectedFrom }, captures, failedAt },
    ...(ownAlertPercent === undefined ? {} : { ownAlertAt: ownAlertPercent }),
  };
}

export function restoreCamera(value: Json): CameraFacts | undefined {
  const saved = savedSchema.safeParse(value).data;
  if (saved === undefined) return undefined;
  const { expectedFrom, captures, failedAt, ownAlertAt } = saved;
  return { ...unknownCamera(expectedFrom), captures, failedAt, ownAlertPercent: ownAlertAt };
}

/** Updates the facts by one entry. @returns whether this changed the result of {@link saveCamera} */
export function noteCamera(facts: CameraFacts, topic: Topic, entry: StateEntry, thresholds: AlertThresholds): boolean {
  const { failuresOf, noCaptureMs } = thresholds;
  const moment: Moment = { at: entry.acceptedAt, position: entry.position };
  switch (topic.kind) {
    case "camera-event": {
      const failed = topic.event === "capture.failed";
      if (!failed && topic.event !== "capture.completed") return false;
      facts.captures = (facts.captures + (failed ? "1" : "0")).slice(-failuresOf);
      if (failed) facts.failedAt = entry.position;
      // A late capture from a backlog does not show that the camera takes pictures now.
      else if (!endOf(entry).historical) expectFrom(facts, moment);
      return true;
    }
    case "camera-about": {
      if (endOf(entry).historical) return false;
      const about = z.object({ capture_interval_s: z.number().positive() }).safeParse(dataOf(entry));
      if (!about.success) return false;
      const beforeMs = facts.intervalMs;
      facts.intervalMs = about.data.capture_interval_s * 1000;
      facts.intervalPosition = entry.position;
      // Captures were on time for the longer interval; the shorter interval applies from now on. The position is not
      // changed: there was no capture, so a raised alert must not be cleared.
      const wasOnTime = entry.acceptedAt - facts.expectedFrom.at < Math.max(2 * beforeMs, noCaptureMs);
      if (facts.intervalMs >= beforeMs || !wasOnTime) return false;
      facts.expectedFrom = { ...facts.expectedFrom, at: moment.at };
      return true;
    }
    case "camera-alert":
      return topic.name === "disk" && noteOwnAlert(facts, entry);
    case "camera-state":
      // A state from a backlog is outdated: the retained state is newer.
      return endOf(entry).historical ? false : noteState(facts, topic.name, entry, moment, thresholds);
    default:
      return false;
  }
}

/** A sequence number shows that the camera raised the alert: the backend's events have none. */
function noteOwnAlert(facts: CameraFacts, entry: StateEntry): boolean {
  const { ownAlertPercent: before, disk } = facts;
  const isByCamera = endOf(entry).seq !== undefined && disk?.ownLimit === undefined;
  // Keeps the usage at the first alert: the camera's limit is just below it.
  facts.ownAlertPercent = isByCamera ? (before ?? disk?.percent) : undefined;
  return facts.ownAlertPercent !== before;
}

function noteState(facts: CameraFacts, name: string, entry: StateEntry, moment: Moment, thresholds: AlertThresholds) {
  if (name === "storage") {
    const { ownAlertPercent: before } = facts;
    facts.disk = diskUsage(entry, moment, thresholds.diskPercent, facts.disk);
    const reason = storageSchema.safeParse(dataOf(entry)).data?.unwritable;
    facts.unwritable = reason === undefined ? undefined : { reason, reported: facts.unwritable?.reported ?? moment };
    // The camera may have raised the alert before it published its limit.
    if (facts.disk?.ownLimit !== undefined) facts.ownAlertPercent = undefined;
    return facts.ownAlertPercent !== before;
  }
  if (name === "power") {
    const power = powerSchema.safeParse(dataOf(entry)).data;
    facts.batteryLeft = power === undefined || power.source === "mains" ? undefined : power.battery_percent;
    facts.batteryPosition = entry.position;
    return false;
  }
  if (name === "capture") {
    const active = captureProgressSchema.safeParse(dataOf(entry)).data?.active;
    const isStart = active === true && facts.active === false;
    facts.active = active;
    if (isStart) expectFrom(facts, moment);
    return isStart;
  }
  return name === PRESENCE_STATE && notePresence(facts, entry, moment);
}

function notePresence(facts: CameraFacts, entry: StateEntry, moment: Moment): boolean {
  const presence = presenceSchema.safeParse(dataOf(entry)).data;
  const status = presence?.status ?? "unknown";
  const isOffline = status === "offline" || status === "overslept";
  const offlineSince = presence?.offline_since ?? presence?.since;
  // Both times are by the system's clock, so their difference is also right for the server's own clock.
  const agoMs =
    offlineSince === undefined ? 0 : Math.max(0, Date.parse(endOf(entry).timestamp) - Date.parse(offlineSince));
  facts.offlineSince = isOffline ? entry.acceptedAt - agoMs : undefined;
  if (status === facts.presence) return false;
  const hasConnected = isConnected(status) && !isConnected(facts.presence);
  facts.presencePosition = entry.position;
  facts.presence = status;
  facts.presenceSince = entry.acceptedAt;
  if (hasConnected) {
    facts.connectedPosition = entry.position;
    expectFrom(facts, moment);
  }
  return hasConnected;
}

function diskUsage(entry: StateEntry, moment: Moment, diskPercent: number, before?: DiskUsage): DiskUsage | undefined {
  const storage = storageSchema.safeParse(dataOf(entry)).data;
  if (storage === undefined) return undefined;
  const percent = (1 - storage.free_bytes / storage.total_bytes) * 100;
  const ownLimit = storage.alert_percent;
  const limit = ownLimit ?? diskPercent;
  /** How many of three limits (to raise, to clear, to clear the camera's own alert) are above the usage. */
  const limitsAbove = (used: number): number => [0, 1, 2].filter((steps) => used <= limit - steps * DISK_RELIEF).length;
  const isSameSide =
    before !== undefined && before.ownLimit === ownLimit && limitsAbove(before.percent) === limitsAbove(percent);
  return { percent, measured: moment, since: isSameSide ? before.since : moment.at, ownLimit };
}

/** A retained topic may be older than the restored facts. */
function expectFrom(facts: CameraFacts, moment: Moment): void {
  if (moment.position > facts.expectedFrom.position) facts.expectedFrom = moment;
}

export function isConnected(presence: CameraFacts["presence"]): boolean {
  return presence === "online" || presence === "stale";
}
