import { type Alert, alertSchema } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import type { Topic } from "../../contract/topics.ts";

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

export interface Alerts {
  /** The keys are `camera/alert` and `service:name/alert`. */
  alerts: ReadonlyMap<string, AlertState>;
  /** The last {@link MAX_ENDED_ALERTS} alerts that ended while this client ran, newest first. */
  endedAlerts: readonly EndedAlert[];
}

/** Whether an event clears its topic. The data of `alert.cleared` is the alert that ended. */
export function isCleared({ event, data }: DashboardEvent): boolean {
  return data === null || event === "alert.cleared";
}

export function applyAlert(
  { alerts, endedAlerts }: Alerts,
  topic: Extract<Topic, { kind: "camera-alert" | "service-alert" }>,
  event: DashboardEvent,
): Alerts {
  const isOfCamera = topic.kind === "camera-alert";
  const key = isOfCamera ? `${topic.camera}/${topic.name}` : `service:${topic.service}/${topic.name}`;
  const held = alerts.get(key);
  const next = new Map(alerts);
  const read = isCleared(event) ? undefined : alertSchema.safeParse(event.data);
  if (read?.success === true) {
    const owner = isOfCamera ? { camera: topic.camera } : { service: topic.service };
    // An alert that is raised again, with another message, keeps its start.
    next.set(key, { ...read.data, ...owner, since: held?.since ?? event.timestamp });
    return { alerts: next, endedAlerts };
  }
  next.delete(key);
  // An alert that is missing in a snapshot ended at an unknown time.
  if (held === undefined || event.snapshot === true) return { alerts: next, endedAlerts };
  const ended: EndedAlert = { ...held, until: event.timestamp };
  return { alerts: next, endedAlerts: [ended, ...endedAlerts].slice(0, MAX_ENDED_ALERTS) };
}
