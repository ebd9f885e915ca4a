import { ALERTS, cameraOfChannel, DASHBOARD, JOBS, SYSTEM } from "../../../contract/channels.ts";
import type { Topic, TopicTree } from "../../../contract/topics.ts";
import { kindOf } from "./kinds.ts";
import { type EventRow, placeOf } from "./tables.ts";
import { searchText } from "./words.ts";

/** The bit of each built-in channel in the column `reach`. */
export const REACH: Readonly<Record<string, number>> = { [DASHBOARD]: 1, [ALERTS]: 2, [JOBS]: 4, [SYSTEM]: 8 };
/** The bit of the camera's own channel. */
export const CAMERA_REACH = 16;

/** An entry of the journal. */
export interface ArchivedEntry {
  position: number;
  topic: string;
  channels: readonly string[];
  camera: string | undefined;
  body: string;
  acceptedAt: number;
}

/** Characters that a text in PostgreSQL cannot contain: NUL, and half of a surrogate pair. */
const UNSTORABLE = /[\0\p{Surrogate}]/gu;

interface Body {
  event: string;
  data: unknown;
  timestamp?: string;
  id?: string;
}

/** False for publications that only MQTT subscribers get, such as those outside the topic root. */
export function hasEvent({ body }: ArchivedEntry): boolean {
  return body !== "";
}

export function rowOf(entry: ArchivedEntry, epoch: number, tree: TopicTree): EventRow {
  const { position, channels, acceptedAt } = entry;
  const body = `{${entry.body}}`;
  const { event, data, timestamp = "", id }: Body = JSON.parse(body);
  const topic = tree.parse(entry.topic);
  let camera = entry.camera ?? null;
  let reach = 0;
  for (const channel of channels) {
    const owner = cameraOfChannel(channel);
    if (owner === undefined) reach |= REACH[channel] ?? 0;
    else {
      camera = owner;
      reach |= CAMERA_REACH;
    }
  }
  const sentAt = Date.parse(timestamp);
  // Each field is written out: an object literal that spreads other objects took 18 µs, more than the rest of this
  // function.
  return {
    id: placeOf(epoch, position),
    epoch,
    position,
    time: acceptedAt,
    sent_at: Number.isNaN(sentAt) ? null : sentAt,
    kind: kindOf(topic),
    event: storable(event),
    camera,
    channels: channels.length === 0 ? "" : ` ${channels.join(" ")} `,
    reach,
    event_id: id === undefined ? null : storable(id),
    subject: subjectOf(topic, data),
    words: searchText(data),
    body,
  };
}

function subjectOf(topic: Topic | undefined, data: unknown): string | null {
  if (topic?.kind === "service-job") return topic.job;
  if (topic?.kind === "camera-command") return textOf(data, "id");
  if (topic?.kind === "camera-reply") return textOf(data, "command_id");
  return null;
}

function textOf(data: unknown, name: "id" | "command_id"): string | null {
  const value: unknown = typeof data === "object" && data !== null ? Reflect.get(data, name) : undefined;
  return typeof value === "string" ? storable(value.slice(0, 64)) : null;
}

function storable(text: string): string {
  return text.replace(UNSTORABLE, "\uFFFD");
}
