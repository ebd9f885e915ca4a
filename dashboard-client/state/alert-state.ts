import type { Alert, AlertNoteData } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { isAlert, isAlertNote } from "../../contract/state-guards.ts";
import type { AlertNote, Topic } from "../../contract/topics.ts";

export const MAX_ENDED_ALERTS = 20;

export interface AlertState extends Alert {
  /** The camera or the processing service that raised the alert. */
  camera?: string;
  service?: string;
  /** When the alert was first raised, RFC 3339. */
  since: string;
}

export interface EndedAlert extends AlertState {
  /** When the alert ended, RFC 3339. */
  until: string;
}

/** What people noted about an alert. A mute whose `until` has passed is over. */
export type AlertNotes = Readonly<Partial<Record<AlertNote, AlertNoteData>>>;

export interface Alerts {
  /** The keys are `camera/alert` and `service:name/alert`. */
  alerts: ReadonlyMap<string, AlertState>;
  /** Acknowledgements and mutes, with the keys of `alerts`. A mute may outlast its alert. */
  alertNotes: ReadonlyMap<string, AlertNotes>;
  /** The last {@link MAX_ENDED_ALERTS} alerts that ended while this client ran, newest first. */
  endedAlerts: readonly EndedAlert[];
}

/** Whether an event clears its topic. The data of `alert.cleared` is the alert that ended. */
export function isCleared({ event, data }: DashboardEvent): boolean {
  return data === null || event === "alert.cleared";
}

type NoteTopic = Extract<Topic, { kind: "camera-alert-note" | "service-alert-note" }>;

export function applyAlertNote(
  { alertNotes }: Alerts,
  topic: NoteTopic,
  event: DashboardEvent,
): Pick<Alerts, "alertNotes"> {
  const { data } = event;
  const isNoted = !isCleared(event) && isAlertNote(data);
  return { alertNotes: withNote(alertNotes, keyOf(topic), topic.note, isNoted ? data : undefined) };
}

function withNote(
  all: Alerts["alertNotes"],
  key: string,
  note: AlertNote,
  data: AlertNoteData | undefined,
): typeof all {
  const { [note]: _before, ...others } = all.get(key) ?? {};
  const notes: AlertNotes = data === undefined ? others : { ...others, [note]: data };
  const next = new Map(all);
  if (Object.keys(notes).length === 0) next.delete(key);
  else next.set(key, notes);
  return next;
}

export function applyAlert(
  { alerts, alertNotes, endedAlerts }: Alerts,
  topic: Extract<Topic, { kind: "camera-alert" | "service-alert" }>,
  event: DashboardEvent,
): Alerts {
  const isOfCamera = topic.kind === "camera-alert";
  const key = keyOf(topic);
  const held = alerts.get(key);
  const next = new Map(alerts);
  const { data } = event;
  if (!isCleared(event) && isAlert(data)) {
    const owner = isOfCamera ? { camera: topic.camera } : { service: topic.service };
    // An alert that is raised again, with another message, keeps its start.
    next.set(key, { ...data, ...owner, since: held?.since ?? event.timestamp });
    return { alerts: next, alertNotes, endedAlerts };
  }
  next.delete(key);
  // The backend clears the acknowledgement a moment later. It must not apply to an alert that is raised in this moment.
  const remaining = withNote(alertNotes, key, "acknowledgement", undefined);
  // An alert that is missing in a snapshot ended at an unknown time.
  if (held === undefined || event.snapshot === true) return { alerts: next, alertNotes: remaining, endedAlerts };
  const ended: EndedAlert = { ...held, until: event.timestamp };
  const all = [ended, ...endedAlerts].slice(0, MAX_ENDED_ALERTS);
  return { alerts: next, alertNotes: remaining, endedAlerts: all };
}

function keyOf(topic: NoteTopic | Parameters<typeof applyAlert>[1]): string {
  return "camera" in topic ? `${topic.camera}/${topic.name}` : `service:${topic.service}/${topic.name}`;
}
