import { z } from "zod";
import { jobSchema, linkSchema } from "../../../contract/events.ts";
import type { Topic } from "../../../contract/topics.ts";
import type { Json } from "../../cluster/cluster.ts";
import { dataOf, endOf } from "../../journal/entry-body.ts";
import type { StateEntry } from "../../journal/journal.ts";
import type { Moment } from "./camera-facts.ts";

/** What an alert about a processing service depends on. */
export interface ServiceFacts {
  link: "online" | "offline" | "sleeping" | "unknown";
  session: string | undefined;
  /** The word of its link, or of anything else since. */
  heard: Moment;
  /** Since when its link says that it is gone; undefined while it does not. */
  goneSince: Moment | undefined;
  /** The jobs that are not done, and whether they wait. */
  jobs: Map<string, "queued" | "processing">;
  /** Of the last change of the queue. */
  queuedAt: number;
}

/** Jobs of a service that are counted. */
const MAX_JOBS = 10_000;

const savedSchema = z.object({ heard: z.object({ at: z.number(), position: z.number() }) });

export function unknownService(heard: Moment): ServiceFacts {
  return { link: "unknown", session: undefined, heard, goneSince: undefined, jobs: new Map(), queuedAt: 0 };
}

/** What of it is in no retained topic. */
export function saveService({ heard }: ServiceFacts): Json {
  return { heard: { ...heard } };
}

export function restoreService(value: Json): ServiceFacts | undefined {
  const read = savedSchema.safeParse(value);
  return read.success ? unknownService(read.data.heard) : undefined;
}

/** @param retained it is what stands, not what was just said: nobody was heard */
export function noteService(facts: ServiceFacts, topic: Topic, entry: StateEntry, retained = false): void {
  const moment: Moment = { at: entry.acceptedAt, position: entry.position };
  // What comes late says neither how things are nor that somebody works now.
  if (topic.kind === "service-alert" || endOf(entry).historical) return;
  if (topic.kind === "service-link") {
    noteLink(facts, entry, moment);
    return;
  }
  if (!retained) {
    facts.heard = moment;
    // Whoever speaks is there, whatever a will of an old connection says.
    if (facts.goneSince !== undefined && facts.link === "offline") facts.goneSince = undefined;
  }
  if (topic.kind === "service-job") noteJob(facts, topic.job, entry);
}

function noteLink(facts: ServiceFacts, entry: StateEntry, moment: Moment): void {
  const read = linkSchema.safeParse(dataOf(entry));
  const status = read.success ? read.data.status : "unknown";
  // The will of an earlier connection, which the broker may send after the birth of the next.
  if (status === "offline" && facts.link === "online" && facts.session !== read.data?.session) return;
  facts.link = status;
  facts.session = read.data?.session;
  if (status === "offline") facts.goneSince ??= moment;
  else {
    facts.goneSince = undefined;
    if (status === "online") facts.heard = moment;
  }
}

function noteJob(facts: ServiceFacts, job: string, entry: StateEntry): void {
  const read = jobSchema.safeParse(dataOf(entry));
  const status = read.success ? read.data.status : undefined;
  const before = facts.jobs.get(job);
  facts.jobs.delete(job);
  if ((status === "queued" || status === "processing") && facts.jobs.size < MAX_JOBS) facts.jobs.set(job, status);
  if (before !== facts.jobs.get(job)) facts.queuedAt = entry.position;
}

export function queuedOf({ jobs }: ServiceFacts): number {
  let queued = 0;
  for (const status of jobs.values()) if (status === "queued") queued++;
  return queued;
}
