import { z } from "zod";
import { jobSchema, linkSchema } from "../../../contract/events.ts";
import type { Topic } from "../../../contract/topics.ts";
import type { Json } from "../../cluster/cluster.ts";
import { dataOf, endOf } from "../../journal/entry-body.ts";
import type { StateEntry } from "../../journal/journal.ts";
import type { Moment } from "./camera-facts.ts";

export interface ServiceFacts {
  link: "online" | "offline" | "sleeping" | "unknown";
  session: string | undefined;
  /** The time and the position of the service's last message. */
  heard: Moment;
  /** When the link went offline; undefined while it is not offline. */
  offlineSince: Moment | undefined;
  jobs: Map<string, "queued" | "processing">;
  /** The position of the last change of the queue. */
  queuedAt: number;
}

/** The most jobs that are remembered of one service. */
const MAX_JOBS = 10_000;

const savedSchema = z.object({ heard: z.object({ at: z.number(), position: z.number() }) });

export function unknownService(heard: Moment): ServiceFacts {
  return { link: "unknown", session: undefined, heard, offlineSince: undefined, jobs: new Map(), queuedAt: 0 };
}

/** The facts to save: those that no retained topic holds. */
export function saveService({ heard }: ServiceFacts): Json {
  return { heard: { ...heard } };
}

export function restoreService(value: Json): ServiceFacts | undefined {
  const saved = savedSchema.safeParse(value).data;
  return saved === undefined ? undefined : unknownService(saved.heard);
}

/** @param isRetained the entry was read at start-up, so it does not show that the service is connected now */
export function noteService(facts: ServiceFacts, topic: Topic, entry: StateEntry, isRetained = false): void {
  const moment: Moment = { at: entry.acceptedAt, position: entry.position };
  // A backlog message does not show the current state, nor that the service works now.
  if (topic.kind === "service-alert" || endOf(entry).historical) return;
  if (topic.kind === "service-link") {
    noteLink(facts, entry, moment);
    return;
  }
  if (!isRetained) {
    facts.heard = moment;
    // A service that sends is connected, even if the will of an old connection arrived.
    if (facts.offlineSince !== undefined && facts.link === "offline") facts.offlineSince = undefined;
  }
  if (topic.kind === "service-job") noteJob(facts, topic.job, entry);
}

function noteLink(facts: ServiceFacts, entry: StateEntry, moment: Moment): void {
  const link = linkSchema.safeParse(dataOf(entry)).data;
  const status = link?.status ?? "unknown";
  // The broker may send the will of an earlier connection after the birth of the next one.
  if (status === "offline" && facts.link === "online" && facts.session !== link?.session) return;
  facts.link = status;
  facts.session = link?.session;
  if (status === "offline") facts.offlineSince ??= moment;
  else {
    facts.offlineSince = undefined;
    if (status === "online") facts.heard = moment;
  }
}

function noteJob(facts: ServiceFacts, job: string, entry: StateEntry): void {
  const status = jobSchema.safeParse(dataOf(entry)).data?.status;
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
