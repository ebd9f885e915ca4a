import { type CustomChannels, cameraOfTopic, channelsOf } from "../contract/channels.ts";
import { cameraNamedIn, type Envelope, type Publication } from "../contract/events.ts";
import type { Topic, TopicTree } from "../contract/topics.ts";
import type { IncomingPublication } from "../platform/publications.ts";
import { eventBody, eventPlace } from "./delivery/frames.ts";
import type { Journal, JournalMessage } from "./journal/journal.ts";

/** The facts that a topic's name determines for every message on it. */
export interface TopicFacts {
  topic: Topic;
  channels: readonly string[];
  camera: string | undefined;
  /** The camera and topic of the event as JSON: see {@link eventPlace}. */
  place: string;
}

export function topicFacts(
  topic: Topic,
  name: string,
  { tree, channels }: { tree: TopicTree; channels: CustomChannels },
): TopicFacts {
  const camera = cameraOfTopic(topic);
  const place = eventPlace({ camera, topic: name.slice(tree.root.length + 1) });
  return { topic, channels: channelsOf(topic, name, channels), camera, place };
}

/**
 * The journal message of a publication. The event is encoded here, once for all receivers. Nobody copies the message
 * with a spread, which takes several microseconds.
 */
export function journalMessage(
  { identity, topic, payload, qos, retain, incomingId, publisher, expiresAt, properties }: IncomingPublication,
  { channels, camera, place }: TopicFacts,
  { event, data, dataText, timestamp, id, session, seq, historical }: Publication,
  journal: Pick<Journal, "state">,
): JournalMessage {
  // A message from a backlog is history: it never replaces the current state.
  const isRetained = retain && !historical;
  return {
    topic,
    channels,
    camera: camera ?? cameraNamedIn(data) ?? journal.state(topic)?.camera,
    body: eventBody({ event, data, dataText, timestamp, id, historical, seq, place }),
    state: isRetained ? (payload.length === 0 ? "clear" : "set") : undefined,
    origin: { sender: identity, id, session, seq },
    // QoS 0 is delivered at most once: it is not published again after a crash.
    publish: qos === 0 ? undefined : { payload, qos, retain: isRetained, publisher, expiresAt, properties },
    incomingId,
  };
}

/** The `data` of an event that clears a topic. An alert is named, because an empty payload does not name it. */
export function clearedData(topic: Topic): { alert: string } | null {
  return topic.kind === "camera-alert" || topic.kind === "service-alert" ? { alert: topic.name } : null;
}

export function envelopePayload(
  { id, timestamp, event, historical }: Pick<Envelope, "id" | "timestamp" | "event" | "historical">,
  dataText: string | undefined,
): Buffer {
  const late = historical ? ',"historical":true' : "";
  return Buffer.from(
    `{"v":1,"id":"${id}","timestamp":"${timestamp}","event":"${event}","data":${dataText ?? "null"}${late}}`,
  );
}
