import { type Alert, alertSchema } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import type { Topic } from "../../contract/topics.ts";

export const MAX_ENDED_ALERTS = 20;

export interface AlertState extends Alert {
  /** Whom it is about: a camera, or a processing service. */
  camera?: string;
  service?: string;
  since: string;
}

/** An alert that is over; shown a while longer, so that people see that it was. */
export interface EndedAlert extends AlertState {
  until: string;
}

export interface Alerts {
  /** By `camera/alert` and `service:name/alert`. */
  alerts: ReadonlyMap<string, AlertState>;
  /** The last {@link MAX_ENDED_ALERTS} that ended while this client was looking, newest first. */
  endedAlerts: readonly EndedAlert[];
}

/** Whether an event clears its topic. The end of an alert does, and still says which one it was. */
export function isCleared({ event, data }: DashboardEvent): boolean {
  return data === null || event === "alert.cleared";
}

/** What an event on an alert's topic makes of the alerts. */
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
    // Raised again with other words, it is the same alert: it stands since it was first raised.
    next.set(key, { ...read.data, ...owner, since: held?.since ?? event.timestamp });
    return { alerts: next, endedAlerts };
  }
  next.delete(key);
  // That a snapshot does not have it says nothing of when it ended.
  if (held === undefined || event.snapshot === true) return { alerts: next, endedAlerts };
  const ended: EndedAlert = { ...held, until: event.timestamp };
  return { alerts: next, endedAlerts: [ended, ...endedAlerts].slice(0, MAX_ENDED_ALERTS) };
}
