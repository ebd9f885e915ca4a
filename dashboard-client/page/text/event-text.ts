import { object, text } from "../../../contract/guards.ts";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { isAlert, isAlertNote, isCaptureCompleted, isJob, isLinkGap } from "../../../contract/state-guards.ts";
import type { IconName } from "../components/icon.tsx";
import { alertName, personName } from "./alert-text.ts";
import type { Tone } from "./camera-status.ts";
import { formatBytes, formatMinute, lowerFirst } from "./format.ts";
import { gapSpan, gapTitle } from "./gap-text.ts";
import { t, textOf } from "./i18n.ts";

interface EventText {
  title: string;
  detail: string;
  icon: IconName;
  tone: Tone;
}

type Shape = Pick<EventText, "icon" | "tone">;

const SHAPES: ReadonlyMap<string, Shape> = new Map<string, Shape>([
  ["capture.started", { icon: "aperture", tone: "quiet" }],
  ["capture.progress", { icon: "aperture", tone: "quiet" }],
  ["capture.completed", { icon: "aperture", tone: "good" }],
  ["capture.failed", { icon: "aperture", tone: "bad" }],
  ["preview.updated", { icon: "picture", tone: "quiet" }],
  ["camera.about", { icon: "camera", tone: "quiet" }],
  ["camera.record", { icon: "camera", tone: "quiet" }],
  ["camera.online", { icon: "link", tone: "good" }],
  ["camera.offline", { icon: "link", tone: "bad" }],
  ["camera.sleeping", { icon: "moon", tone: "rest" }],
  ["camera.stale", { icon: "link", tone: "warn" }],
  ["camera.overslept", { icon: "moon", tone: "bad" }],
  ["camera.never_seen", { icon: "camera", tone: "quiet" }],
  ["camera.unknown", { icon: "link", tone: "quiet" }],
  ["job.requested", { icon: "film", tone: "quiet" }],
  ["job.progress", { icon: "film", tone: "quiet" }],
  ["job.completed", { icon: "film", tone: "good" }],
  ["job.failed", { icon: "film", tone: "bad" }],
  ["alert.raised", { icon: "alert", tone: "warn" }],
  ["alert.cleared", { icon: "alert", tone: "good" }],
  ["alert.acknowledged", { icon: "check", tone: "quiet" }],
  ["alert.muted", { icon: "alert", tone: "quiet" }],
  ["alert.unmuted", { icon: "alert", tone: "warn" }],
  ["schedule.updated", { icon: "clock", tone: "quiet" }],
  ["settings.applied", { icon: "sliders", tone: "quiet" }],
  ["environmental.update", { icon: "sun", tone: "quiet" }],
  ["resource.update", { icon: "chip", tone: "quiet" }],
  ["system.status", { icon: "chip", tone: "quiet" }],
  ["state.updated", { icon: "chip", tone: "quiet" }],
  ["state.cleared", { icon: "chip", tone: "quiet" }],
  ["service.link", { icon: "film", tone: "quiet" }],
  ["error.occurred", { icon: "alert", tone: "bad" }],
  ["publication.refused", { icon: "alert", tone: "warn" }],
  ["link.gap", { icon: "gap", tone: "warn" }],
  ["outbox.dropped", { icon: "gap", tone: "warn" }],
]);

/** The names of the events that have texts. */
export const EVENT_NAMES: readonly string[] = [...SHAPES.keys()];

export interface Reader {
  timeZone: string | undefined;
  now: number;
}

const NOTES: ReadonlySet<string> = new Set(["alert.acknowledged", "alert.muted", "alert.unmuted"]);
const ALERT_TONES = { critical: "bad", warning: "warn", info: "quiet" } as const;
const isCleared = object<{ alert: string }>({ alert: text() });

/** An event in words. The text of an unknown event is its name and the simple fields of its data. */
export function eventText(event: DashboardEvent, reader: Reader = { timeZone: undefined, now: Date.now() }): EventText {
  const shape: Shape = SHAPES.get(event.event) ?? { icon: "dot", tone: "quiet" };
  const title = textOf("event", event.event) ?? event.event;
  return { title, ...shape, ...special(event), detail: detail(event, reader) };
}

function special({ event, data }: DashboardEvent): Partial<EventText> {
  if (event.startsWith("job.") && isJob(data)) {
    const what = t(data.type === "timelapse_assembly" ? "eventDetail.timelapse" : "eventDetail.images");
    return { title: t(`eventDetail.${data.status}`, { what }) };
  }
  if (event === "alert.raised" && isAlert(data)) return { title: data.message, tone: ALERT_TONES[data.severity] };
  if (event === "alert.cleared" && isCleared(data))
    return { title: t("eventDetail.ended", { alert: lowerFirst(alertName(data.alert)) }) };
  if (NOTES.has(event) && isAlertNote(data))
    return { title: textOf("eventDetail", event, { alert: lowerFirst(alertName(data.alert)) }) ?? event };
  if (event === "link.gap" && isLinkGap(data))
    return { title: gapTitle(data), tone: data.filled === true ? "good" : "warn" };
  return {};
}

function detail({ event, data }: DashboardEvent, { timeZone, now }: Reader): string {
  if (event === "link.gap" && isLinkGap(data)) return gapSpan(data, timeZone, now);
  if (event === "capture.completed" && isCaptureCompleted(data))
    return `${data.width} × ${data.height} · ${formatBytes(data.size_bytes)}`;
  if (event.startsWith("job.") && isJob(data)) {
    if (data.status === "failed") return data.error ?? "";
    if (data.status === "processing") return `${Math.round(data.progress)} %`;
    return data.simulated === true ? t("eventDetail.simulated") : (data.outputs?.join(", ") ?? "");
  }
  // The address and the etag of the picture say nothing to a person.
  if (event === "preview.updated" || event === "capture.progress") return "";
  if (NOTES.has(event) && isAlertNote(data)) {
    const by = personName(data.by);
    if (event !== "alert.muted" || data.until === undefined) return by;
    return t("eventDetail.until", { by, time: formatMinute(data.until, timeZone, now) });
  }
  if (event.startsWith("alert.") || event.startsWith("camera.")) return "";
  return plain(data);
}

const MAX_PLAIN_FIELDS = 3;
const MAX_PLAIN_LENGTH = 80;

/** The first fields that are strings, numbers or booleans. */
function plain(data: unknown): string {
  if (typeof data === "string" || typeof data === "number") return cut(String(data));
  if (typeof data !== "object" || data === null || Array.isArray(data)) return "";
  const all = new Map<string, unknown>(Object.entries(data));
  for (const words of [all.get("error"), all.get("message"), all.get("text")])
    if (typeof words === "string") return cut(words);
  const fields = [...all].filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
  const words = fields
    .slice(0, MAX_PLAIN_FIELDS)
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${String(value)}`);
  return cut(words.join(" · "));
}

function cut(text: string): string {
  return text.length > MAX_PLAIN_LENGTH ? `${text.slice(0, MAX_PLAIN_LENGTH - 1)}…` : text;
}
