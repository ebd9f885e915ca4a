import { type Presence, presenceSchema } from "../../contract/events.ts";
import { PRESENCE_STATE, type TopicTree } from "../../contract/topics.ts";
import type { Journal, StateEntry } from "../journal/journal.ts";
import { bodyOf } from "./camera-messages.ts";
import type { CameraPresence } from "./camera-presence.ts";

/** The camera's presence as last published, by any node. */
export function publishedPresence(journal: Pick<Journal, "state">, tree: TopicTree, camera: string) {
  const published = journal.state(tree.build({ kind: "camera-state", camera, name: PRESENCE_STATE }));
  return published === undefined ? undefined : presenceIn(published);
}

export function presenceIn(entry: StateEntry): Presence | undefined {
  return presenceSchema.safeParse(bodyOf(entry)?.data).data;
}

export function fromPublished(published: Presence, entry: StateEntry, connected: boolean): CameraPresence {
  const { status, since, until, session, offline_since } = published;
  return {
    ...{ status, session, since: serverTimeOf(since, entry), until: serverTimeOf(until, entry) },
    ...{ offlineSince: serverTimeOf(offline_since, entry), graceEndsAt: undefined, connected },
  };
}

/** Converts a time in an event of the backend from the system's clock to the server's own clock, milliseconds. */
export function serverTimeOf(text: string, entry: StateEntry): number;
export function serverTimeOf(text: string | undefined, entry: StateEntry): number | undefined;
export function serverTimeOf(text: string | undefined, entry: StateEntry): number | undefined {
  if (text === undefined) return undefined;
  const { timestamp = text } = bodyOf(entry) ?? {};
  return entry.acceptedAt + Date.parse(text) - Date.parse(timestamp);
}

/** The presence to publish, with times by the system's clock. All arguments are by the server's own clock. */
export function toPublished(presence: CameraPresence, heardAt: number | undefined, now: number): Presence {
  const { status, since, until, session, offlineSince } = presence;
  // Rounded to seconds, so that `since` is equal in two reads: the two clocks are never read at the same instant.
  const aheadMs = Math.round((Date.now() - now) / 1000) * 1000;
  const bySystemClock = (time: number) => new Date(time + aheadMs).toISOString();
  return {
    status,
    since: bySystemClock(since),
    ...(until === undefined ? {} : { until: bySystemClock(until) }),
    ...(session === undefined ? {} : { session }),
    ...(heardAt === undefined ? {} : { last_heard_at: bySystemClock(heardAt) }),
    ...(offlineSince === undefined ? {} : { offline_since: bySystemClock(offlineSince) }),
  };
}
