import type * as contract from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { isJob, isResources, isSystemStatus } from "../../contract/state-guards.ts";
import { isRetained, parseRelativeTopic, type Topic } from "../../contract/topics.ts";
import type { ReportedGap } from "../client/subscription.ts";
import { type Alerts, applyAlert, applyAlertNote, isCleared } from "./alert-state.ts";
import type { CameraState, Known } from "./camera-state.ts";
import { applyAbout, applyLatest, applyState, isKnownState, isLatest, isRepeatedReport } from "./camera-state.ts";
import { RetainedEvents } from "./retained-events.ts";

export const MAX_EVENTS = 100;
export const MAX_METRIC_POINTS = 100;
export const MAX_ENDED_JOBS = 20;

export interface JobState extends contract.Job {
  service: string;
  /** When the service last updated the job, RFC 3339. */
  at: string;
  /** The service has removed the job. The job is still shown, so that people see how it ended. */
  cleared: boolean;
}

export interface MetricPoint extends contract.Resources {
  at: string;
}

export type ActivityItem = { kind: "event"; event: DashboardEvent } | { kind: "gap"; gap: ReportedGap };

/**
 * The state that results from the events of a channel. Immutable: {@link applyEvent} and the other functions return a new
 * state. The cache stores the events in `retained` and `latest`, from which the state can be built again.
 */
export interface DashboardState extends Alerts {
  cameras: ReadonlyMap<string, CameraState>;
  /** The keys are `service/job`. */
  jobs: ReadonlyMap<string, JobState>;
  services: ReadonlyMap<string, Known<unknown>>;
  system: { status?: Known<contract.SystemStatus>; resources?: Known<contract.Resources> };
  /** Newest last. */
  metrics: readonly MetricPoint[];
  /** The last {@link MAX_EVENTS} events, newest first, without those of a snapshot. */
  events: readonly DashboardEvent[];
  /** Like `events`, without routine measurements and progress, but with gaps. */
  activity: readonly ActivityItem[];
  gap: ReportedGap | undefined;
  /** The number of events since the start of this client, without those of a snapshot or of a camera's backlog. */
  newEvents: number;
  /** When the newest event or state was sent, RFC 3339. Ignores historical events. */
  lastEventAt: string | undefined;
  retained: RetainedEvents;
  /** The number of retained topics that were left out because of a limit, since the last snapshot began. */
  leftOut: number;
  /** The latest preview and captures of each camera. A key is the camera and the event name, separated by a space. */
  latest: ReadonlyMap<string, DashboardEvent>;
  /** The number of snapshots that have begun. */
  round: number;
  inSnapshot: boolean;
}

export const EMPTY_STATE: DashboardState = {
  cameras: new Map(),
  jobs: new Map(),
  alerts: new Map(),
  alertNotes: new Map(),
  endedAlerts: [],
  services: new Map(),
  system: {},
  metrics: [],
  events: [],
  activity: [],
  gap: undefined,
  newEvents: 0,
  lastEventAt: undefined,
  retained: RetainedEvents.empty(),
  leftOut: 0,
  latest: new Map(),
  round: 0,
  inSnapshot: false,
};

/** Events that are not shown in `activity`. */
const ROUTINE: ReadonlySet<string> = new Set([
  "system.status",
  "resource.update",
  "environmental.update",
  "capture.started",
  "capture.progress",
  "preview.updated",
  // A `link.gap` event follows, which has more details.
  "outbox.dropped",
  "job.progress",
  "camera.about",
  "state.updated",
  "state.cleared",
  "service.link",
]);

function topicOf(event: DashboardEvent): Topic | undefined {
  return event.topic === undefined ? undefined : parseRelativeTopic(event.topic);
}

export function applyEvent(state: DashboardState, event: DashboardEvent): DashboardState {
  const topic = topicOf(event);
  const historical = event.historical === true;
  let next = state;
  if (!historical) {
    if (event.topic !== undefined && topic !== undefined && isState(topic))
      next = retain(next, topic, event.topic, event);
    if (event.camera !== undefined && isLatest(event)) next = latest(next, event.camera, event);
    next = { ...next, lastEventAt: later(next.lastEventAt, event.timestamp) };
  }
  return event.snapshot === true ? next : withEvent(next, event, isRoutine(state, event, topic));
}

export function snapshotStarted(state: DashboardState): DashboardState {
  return { ...state, round: state.round + 1, inSnapshot: true, leftOut: 0 };
}

/** Removes state that was not in the snapshot, and cameras without any retained topic. */
export function snapshotCompleted(state: DashboardState): DashboardState {
  if (!state.inSnapshot) return state;
  let next: DashboardState = { ...state, inSnapshot: false };
  for (const [name, event] of state.retained.olderThan(state.round)) next = release(next, name, event);
  const present = new Set<string>();
  for (const [, topics] of next.retained.owners())
    for (const { event } of topics.values()) if (event.camera !== undefined) present.add(event.camera);
  return {
    ...next,
    cameras: new Map([...next.cameras].filter(([id]) => present.has(id))),
    latest: new Map([...next.latest].filter(([, { camera }]) => camera !== undefined && present.has(camera))),
  };
}

/** @param parts states of different owners, without events and gaps */
export function mergeStates(parts: readonly DashboardState[]): DashboardState {
  const union = <Key, Value>(mapOf: (part: DashboardState) => ReadonlyMap<Key, Value>): ReadonlyMap<Key, Value> =>
    new Map(parts.flatMap((part) => [...mapOf(part)]));
  return {
    ...EMPTY_STATE,
    cameras: union(({ cameras }) => cameras),
    jobs: union(({ jobs: ofPart }) => ofPart),
    alerts: union(({ alerts }) => alerts),
    alertNotes: union(({ alertNotes }) => alertNotes),
    services: union(({ services }) => services),
    latest: union(({ latest: ofPart }) => ofPart),
    retained: RetainedEvents.merged(parts.map(({ retained }) => retained)),
    system: Object.assign({}, ...parts.map(({ system: ofPart }) => ofPart)),
    metrics: parts.flatMap(({ metrics }) => metrics),
    lastEventAt: parts.reduce<string | undefined>(
      (last, { lastEventAt }) => (lastEventAt === undefined ? last : later(last, lastEventAt)),
      undefined,
    ),
  };
}

export function applyGap(state: DashboardState, gap: ReportedGap): DashboardState {
  const item: ActivityItem = { kind: "gap", gap };
  return { ...state, gap, activity: [item, ...state.activity].slice(0, MAX_EVENTS) };
}

/** Whether {@link applyTopic} has a case for the topic. */
function isState(topic: Topic): boolean {
  return isRetained(topic) && topic.kind !== "camera-link" && !topic.kind.endsWith("-other");
}

function retain(state: DashboardState, topic: Topic, name: string, event: DashboardEvent): DashboardState {
  if (isCleared(event)) return applyTopic({ ...state, retained: state.retained.without(name) }, topic, event);
  const { retained, leftOut } = state.retained.with(name, event, state.round, isShown);
  if (leftOut === undefined) return applyTopic({ ...state, retained }, topic, event);
  const counted = { ...state, retained, leftOut: state.leftOut + 1 };
  const [leftName, leftEvent] = leftOut;
  return leftName === name ? counted : applyTopic(release(counted, leftName, leftEvent), topic, event);
}

/** Removes the state of a topic that was cleared or left out. */
function release(state: DashboardState, name: string, event: DashboardEvent): DashboardState {
  const next = { ...state, retained: state.retained.without(name) };
  const topic = topicOf(event);
  return topic === undefined ? next : applyTopic(next, topic, { ...event, data: null, snapshot: true });
}

/** Whether {@link CameraState} has a field for a retained topic. */
function isShown(name: string): boolean {
  const topic = parseRelativeTopic(name);
  return topic?.kind === "camera-about" || (topic?.kind === "camera-state" && isKnownState(topic.name));
}

function applyTopic(state: DashboardState, topic: Topic, event: DashboardEvent): DashboardState {
  switch (topic.kind) {
    case "camera-about":
      return withCamera(state, topic.camera, event, (camera) => applyAbout(camera, event));
    case "camera-state":
      return withCamera(state, topic.camera, event, (camera) => applyState(camera, topic.name, event));
    case "camera-alert":
      return withCamera({ ...state, ...applyAlert(state, topic, event) }, topic.camera, event);
    case "camera-alert-note":
      return withCamera({ ...state, ...applyAlertNote(state, topic, event) }, topic.camera, event);
    case "service-alert-note":
      return { ...state, ...applyAlertNote(state, topic, event) };
    case "service-alert":
      return { ...state, ...applyAlert(state, topic, event) };
    case "service-job":
      return { ...state, jobs: jobs(state.jobs, topic, event) };
    case "service-link":
      return { ...state, services: put(state.services, topic.service, known(event)) };
    case "system":
      return system(state, topic.name, event);
    default:
      return state;
  }
}

function known({ data, timestamp }: DashboardEvent): Known<unknown> | undefined {
  return data === null ? undefined : { value: data, at: timestamp };
}

/** Changes a camera, or removes a camera without any retained topic. */
function withCamera(
  state: DashboardState,
  id: string,
  event: DashboardEvent,
  change: (camera: CameraState) => CameraState = (camera) => camera,
): DashboardState {
  const exists = !isCleared(event) || (event.topic !== undefined && state.retained.hasOwner(event.topic));
  if (exists) return { ...state, cameras: put(state.cameras, id, change(state.cameras.get(id) ?? { id })) };
  // A picture in the cache would restore the camera after a reload.
  const latest = new Map([...state.latest].filter(([, { camera }]) => camera !== id));
  return { ...state, latest, cameras: put(state.cameras, id, undefined) };
}

function latest(state: DashboardState, camera: string, event: DashboardEvent): DashboardState {
  const before = state.cameras.get(camera);
  const key = `${camera} ${event.event}`;
  const after = applyLatest(before ?? { id: camera }, event, state.latest.get(key));
  if (after === before) return state;
  return { ...state, cameras: put(state.cameras, camera, after), latest: put(state.latest, key, event) };
}

type Jobs = DashboardState["jobs"];

function jobs(held: Jobs, { service, job }: { service: string; job: string }, event: DashboardEvent): Jobs {
  const key = `${service}/${job}`;
  const before = held.get(key);
  const { data } = event;
  if (isJob(data)) return put(held, key, { ...data, service, at: event.timestamp, cleared: false });
  const ended = before?.status === "completed" || before?.status === "failed";
  // A job that is missing in a snapshot was removed at an unknown time.
  if (before === undefined || !ended || event.snapshot === true) return put(held, key, undefined);
  const next = put(held, key, { ...before, cleared: true });
  const cleared = [...next].filter(([, { cleared }]) => cleared);
  return cleared.length > MAX_ENDED_JOBS ? put(next, cleared[0]?.[0] ?? key, undefined) : next;
}

function system(state: DashboardState, name: string, event: DashboardEvent): DashboardState {
  const { timestamp: at, data } = event;
  if (name === "status") {
    const { status: _, ...rest } = state.system;
    return { ...state, system: isSystemStatus(data) ? { ...rest, status: { value: data, at } } : rest };
  }
  if (name === "resources") {
    const { resources: _, ...rest } = state.system;
    if (!isResources(data)) return { ...state, system: rest };
    const newest = state.metrics.at(-1);
    const metrics = newest?.at === at ? state.metrics : [...state.metrics, { ...data, at }].slice(-MAX_METRIC_POINTS);
    return { ...state, system: { ...rest, resources: { value: data, at } }, metrics };
  }
  return state;
}

/** @param state before the event */
function isRoutine(state: DashboardState, event: DashboardEvent, topic: Topic | undefined): boolean {
  // A broadcast is always shown, even if its event has a routine name.
  if (topic?.kind === "channel-event") return false;
  const isReport = event.event === "schedule.updated" || event.event === "settings.applied";
  if (isReport && event.camera !== undefined) return isRepeatedReport(state.cameras.get(event.camera), event);
  return ROUTINE.has(event.event);
}

function withEvent(state: DashboardState, event: DashboardEvent, routine: boolean): DashboardState {
  const item: ActivityItem = { kind: "event", event };
  return {
    ...state,
    events: [event, ...state.events].slice(0, MAX_EVENTS),
    activity: routine ? state.activity : [item, ...state.activity].slice(0, MAX_EVENTS),
    newEvents: event.historical === true ? state.newEvents : state.newEvents + 1,
  };
}

function later(one: string | undefined, other: string): string {
  return one === undefined || Date.parse(other) > Date.parse(one) ? other : one;
}

function put<Value>(map: ReadonlyMap<string, Value>, key: string, value: Value | undefined): typeof map {
  const next = new Map(map);
  if (value === undefined) next.delete(key);
  else next.set(key, value);
  return next;
}
