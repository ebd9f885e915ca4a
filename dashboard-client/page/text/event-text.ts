import { z } from "zod";
import { alertSchema, captureCompletedSchema, jobSchema, linkGapSchema } from "../../../contract/events.ts";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import type { IconName } from "../components/icon.tsx";
import { alertName } from "./alert-text.ts";
import type { Tone } from "./camera-status.ts";
import { formatBytes } from "./format.ts";
import { gapSpan, gapTitle } from "./gap-text.ts";

interface EventText {
  title: string;
  detail: string;
  icon: IconName;
  tone: Tone;
}

type Shape = Omit<EventText, "detail">;

const SHAPES: ReadonlyMap<string, Shape> = new Map<string, Shape>([
  ["capture.started", { title: "Taking a picture", icon: "aperture", tone: "quiet" }],
  ["capture.progress", { title: "Capturing", icon: "aperture", tone: "quiet" }],
  ["capture.completed", { title: "Picture taken", icon: "aperture", tone: "good" }],
  ["capture.failed", { title: "Picture failed", icon: "aperture", tone: "bad" }],
  ["preview.updated", { title: "New preview", icon: "picture", tone: "quiet" }],
  ["camera.about", { title: "Camera details updated", icon: "camera", tone: "quiet" }],
  ["camera.online", { title: "Camera online", icon: "link", tone: "good" }],
  ["camera.offline", { title: "Camera offline", icon: "link", tone: "bad" }],
  ["camera.sleeping", { title: "Camera sleeping", icon: "moon", tone: "rest" }],
  ["camera.stale", { title: "No new pictures", icon: "link", tone: "warn" }],
  ["camera.overslept", { title: "Camera did not wake", icon: "moon", tone: "bad" }],
  ["camera.never_seen", { title: "Camera registered, not connected yet", icon: "camera", tone: "quiet" }],
  ["camera.unknown", { title: "Waiting for the camera", icon: "link", tone: "quiet" }],
  ["job.requested", { title: "Film requested", icon: "film", tone: "quiet" }],
  ["job.progress", { title: "Processing", icon: "film", tone: "quiet" }],
  ["job.completed", { title: "Processing finished", icon: "film", tone: "good" }],
  ["job.failed", { title: "Processing failed", icon: "film", tone: "bad" }],
  ["alert.raised", { title: "Alert", icon: "alert", tone: "warn" }],
  ["alert.cleared", { title: "Alert ended", icon: "alert", tone: "good" }],
  ["schedule.updated", { title: "Schedule changed", icon: "clock", tone: "quiet" }],
  ["settings.applied", { title: "Settings applied", icon: "sliders", tone: "quiet" }],
  ["environmental.update", { title: "Environment measured", icon: "sun", tone: "quiet" }],
  ["resource.update", { title: "Resources measured", icon: "chip", tone: "quiet" }],
  ["system.status", { title: "System status", icon: "chip", tone: "quiet" }],
  ["service.link", { title: "Processing service", icon: "film", tone: "quiet" }],
  ["error.occurred", { title: "Error", icon: "alert", tone: "bad" }],
  ["publication.refused", { title: "A message was refused", icon: "alert", tone: "warn" }],
  ["link.gap", { title: "Events missing", icon: "gap", tone: "warn" }],
  ["outbox.dropped", { title: "Camera dropped events: storage full", icon: "gap", tone: "warn" }],
]);

export interface Reader {
  timeZone: string | undefined;
  now: number;
}

const ALERT_TONES = { critical: "bad", warning: "warn", info: "quiet" } as const;
const clearedSchema = z.object({ alert: z.string() });

/** An event in words. The text of an unknown event is its name and the simple fields of its data. */
export function eventText(event: DashboardEvent, reader: Reader = { timeZone: undefined, now: Date.now() }): EventText {
  const shape = SHAPES.get(event.event) ?? { title: event.event, icon: "dot", tone: "quiet" };
  return { ...shape, ...special(event), detail: detail(event, reader) };
}

function special({ event, data }: DashboardEvent): Partial<Shape> {
  const job = event.startsWith("job.") ? jobSchema.safeParse(data).data : undefined;
  if (job !== undefined) {
    const what = job.type === "timelapse_assembly" ? "Timelapse" : "Images";
    const state = { queued: "queued", processing: "in progress", completed: "finished", failed: "failed" }[job.status];
    return { title: `${what} ${state}` };
  }
  const alert = event === "alert.raised" ? alertSchema.safeParse(data).data : undefined;
  if (alert !== undefined) return { title: alert.message, tone: ALERT_TONES[alert.severity] };
  const cleared = event === "alert.cleared" ? clearedSchema.safeParse(data).data : undefined;
  if (cleared !== undefined) return { title: `Ended: ${alertName(cleared.alert).toLowerCase()}` };
  const gap = event === "link.gap" ? linkGapSchema.safeParse(data).data : undefined;
  if (gap !== undefined) return { title: gapTitle(gap), tone: gap.filled === true ? "good" : "warn" };
  return {};
}

function detail({ event, data }: DashboardEvent, { timeZone, now }: Reader): string {
  const gap = event === "link.gap" ? linkGapSchema.safeParse(data).data : undefined;
  if (gap !== undefined) return gapSpan(gap, timeZone, now);
  if (event === "capture.completed") {
    const capture = captureCompletedSchema.safeParse(data).data;
    if (capture !== undefined) return `${capture.width} × ${capture.height} · ${formatBytes(capture.size_bytes)}`;
  }
  if (event.startsWith("job.")) {
    const job = jobSchema.safeParse(data).data;
    if (job?.status === "failed") return job.error ?? "";
    if (job?.status === "processing") return `${Math.round(job.progress)} %`;
    if (job !== undefined) return job.simulated === true ? "simulated" : (job.outputs?.join(", ") ?? "");
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
