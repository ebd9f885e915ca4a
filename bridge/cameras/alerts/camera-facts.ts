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
import { type AlertThresholds, DISK_RELIEF } from "./thresholds.ts";

/** Something that happened, and where the journal has it: the ground on which an alert is raised. */
export interface Moment {
  /** Milliseconds since 1970. */
  at: number;
  position: number;
}

export interface DiskUsed {
  /** Of the storage. */
  percent: number;
  said: Moment;
  /** Since when it is on the same side of what an alert is raised and cleared by: a camera may say it every second. */
  since: number;
  /** Of the camera, which raises and clears the alert by it. Undefined: it leaves that to the backend. */
  ownLimit: number | undefined;
}

/** What an alert about a camera depends on. */
export interface CameraFacts {
  presence: Presence["status"];
  presenceSince: number;
  /** The position at which its presence was last published. */
  presenceSaid: number;
  /** When its link broke, or when it did not wake; undefined while it is there, asleep as announced, or not known. */
  goneSince: number | undefined;
  /** Percent left, of a camera that runs on a battery or on the sun; undefined of any other. */
  batteryLeft: number | undefined;
  /** The position at which it said so. */
  batterySaid: number;
  /** The position at which it came: a picture above it was taken since. */
  cameAt: number;
  /** Within a window of its schedule, as far as it has said; undefined for one that says nothing of that. */
  active: boolean | undefined;
  /** Milliseconds; 0 while not known. */
  intervalMs: number;
  /** The position at which it said so. */
  intervalSaid: number;
  /** The last picture, or the moment from which one is to be expected. */
  expectedFrom: Moment;
  diskUsed: DiskUsed | undefined;
  /** Why its disk takes no writes, and where it said so first; undefined while it does. */
  unwritable: { reason: string; said: Moment } | undefined;
  /** How full it was when the camera itself raised the alert, by a limit that it does not name; undefined while it has not. */
  ownAlertAt: number | undefined;
  /** The last captures, oldest first, `1` for one that failed. */
  captures: string;
  /** Of the last one that failed. */
  failedAt: number;
}

const savedSchema = z.object({
  expectedFrom: z.object({ at: z.number(), position: z.number() }),
  captures: z.string().regex(/^[01]*$/),
  failedAt: z.number(),
  ownAlertAt: z.number().optional(),
});

/** @param fresh since when pictures are expected, where nothing tells */
export function unknownCamera(fresh: Moment): CameraFacts {
  return {
    presence: "unknown",
    presenceSince: fresh.at,
    presenceSaid: fresh.position,
    goneSince: undefined,
    batteryLeft: undefined,
    batterySaid: fresh.position,
    cameAt: fresh.position,
    active: undefined,
    intervalMs: 0,
    intervalSaid: 0,
    expectedFrom: fresh,
    diskUsed: undefined,
    unwritable: undefined,
    ownAlertAt: undefined,
    captures: "",
    failedAt: 0,
  };
}

/** What of it is in no retained topic. */
export function saveCamera({ expectedFrom, captures, failedAt, ownAlertAt }: CameraFacts): Json {
  return { expectedFrom: { ...expectedFrom }, captures, failedAt, ...(ownAlertAt === undefined ? {} : { ownAlertAt }) };
}

export function restoreCamera(value: Json): CameraFacts | undefined {
  const read = savedSchema.safeParse(value);
  return read.success ? { ...unknownCamera(read.data.expectedFrom), ...read.data } : undefined;
}

/** @returns whether anything changed that is to be saved */
export function noteCamera(facts: CameraFacts, topic: Topic, entry: StateEntry, thresholds: AlertThresholds): boolean {
  const { failuresOf, noCaptureMs } = thresholds;
  const moment: Moment = { at: entry.acceptedAt, position: entry.position };
  switch (topic.kind) {
    case "camera-event": {
      const failed = topic.event === "capture.failed";
      if (!failed && topic.event !== "capture.completed") return false;
      facts.captures = (facts.captures + (failed ? "1" : "0")).slice(-failuresOf);
      if (failed) facts.failedAt = entry.position;
      // A picture that comes late from a backlog does not say that the camera takes pictures now.
      else if (!endOf(entry).historical) expectFrom(facts, moment);
      return true;
    }
    case "camera-about": {
      if (endOf(entry).historical) return false;
      const about = z.object({ capture_interval_s: z.number().positive() }).safeParse(dataOf(entry));
      if (!about.success) return false;
      const beforeMs = facts.intervalMs;
      facts.intervalMs = about.data.capture_interval_s * 1000;
      facts.intervalSaid = entry.position;
      // The pictures so far were right by the longer interval: by the shorter one they are expected from now on. But there is
      // no picture at that position: an alert that stands does not go by it.
      const inTime = entry.acceptedAt - facts.expectedFrom.at < Math.max(2 * beforeMs, noCaptureMs);
      if (facts.intervalMs >= beforeMs || !inTime) return false;
      facts.expectedFrom = { ...facts.expectedFrom, at: moment.at };
      return true;
    }
    case "camera-alert":
      return topic.name === "disk" && noteOwnAlert(facts, entry);
    case "camera-state":
      // How things were, when what is retained says how they are.
      return endOf(entry).historical ? false : noteState(facts, topic.name, entry, moment, thresholds);
    default:
      return false;
  }
}

/** Of those who raise it only a camera numbers what it says. */
function noteOwnAlert(facts: CameraFacts, entry: StateEntry): boolean {
  const { ownAlertAt: before, diskUsed } = facts;
  const byOwn = endOf(entry).seq !== undefined && diskUsed?.ownLimit === undefined;
  // The first word counts: that is where its limit is.
  facts.ownAlertAt = byOwn ? (before ?? diskUsed?.percent) : undefined;
  return facts.ownAlertAt !== before;
}

function noteState(
  facts: CameraFacts,
  name: string,
  entry: StateEntry,
  moment: Moment,
  { diskPercent }: AlertThresholds,
): boolean {
  if (name === "storage") {
    const { ownAlertAt: before } = facts;
    facts.diskUsed = diskUsedBy(entry, moment, diskPercent, facts.diskUsed);
    const reason = storageSchema.safeParse(dataOf(entry)).data?.unwritable;
    facts.unwritable = reason === undefined ? undefined : { reason, said: facts.unwritable?.said ?? moment };
    // It may have raised the alert before it named the limit.
    if (facts.diskUsed?.ownLimit !== undefined) facts.ownAlertAt = undefined;
    return facts.ownAlertAt !== before;
  }
  if (name === "power") {
    const power = powerSchema.safeParse(dataOf(entry)).data;
    facts.batteryLeft = power === undefined || power.source === "mains" ? undefined : power.battery_percent;
    facts.batterySaid = entry.position;
    return false;
  }
  if (name === "capture") {
    const progress = captureProgressSchema.safeParse(dataOf(entry));
    const active = progress.success ? progress.data.active : undefined;
    const opened = active === true && facts.active === false;
    facts.active = active;
    if (opened) expectFrom(facts, moment);
    return opened;
  }
  if (name === PRESENCE_STATE) {
    const presence = presenceSchema.safeParse(dataOf(entry));
    const status = presence.success ? presence.data.status : "unknown";
    const isGone = status === "offline" || status === "overslept";
    const goneSince = presence.data?.offline_since ?? presence.data?.since;
    // Both times are the system's, of one moment: how long ago it was holds by any clock.
    const agoMs = goneSince === undefined ? 0 : Math.max(0, Date.parse(endOf(entry).timestamp) - Date.parse(goneSince));
    facts.goneSince = isGone ? entry.acceptedAt - agoMs : undefined;
    if (status === facts.presence) return false;
    facts.presenceSaid = entry.position;
    const came = isThere(status) && !isThere(facts.presence);
    facts.presence = status;
    facts.presenceSince = entry.acceptedAt;
    if (came) {
      facts.cameAt = entry.position;
      expectFrom(facts, moment);
    }
    return came;
  }
  return false;
}

function diskUsedBy(entry: StateEntry, said: Moment, diskPercent: number, before?: DiskUsed): DiskUsed | undefined {
  const storage = storageSchema.safeParse(dataOf(entry)).data;
  if (storage === undefined) return undefined;
  const percent = (1 - storage.free_bytes / storage.total_bytes) * 100;
  const ownLimit = storage.alert_percent;
  const limit = ownLimit ?? diskPercent;
  const below = (used: number): number => [0, 1, 2].filter((steps) => used <= limit - steps * DISK_RELIEF).length;
  const sameSide = before !== undefined && before.ownLimit === ownLimit && below(before.percent) === below(percent);
  return { percent, said, since: sameSide ? before.since : said.at, ownLimit };
}

/** What is retained may be older than what was restored. */
function expectFrom(facts: CameraFacts, moment: Moment): void {
  if (moment.position > facts.expectedFrom.position) facts.expectedFrom = moment;
}

export function isThere(presence: CameraFacts["presence"]): boolean {
  return presence === "online" || presence === "stale";
}
