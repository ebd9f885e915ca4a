import type { Logger } from "pino";
import { type CustomChannels, channelsOf } from "../contract/channels.ts";
import type { PreviewUpdated } from "../contract/events.ts";
import { PRESENCE_STATE, type TopicTree } from "../contract/topics.ts";
import { eventBody, eventPlace } from "./delivery/frames.ts";
import { endOf } from "./journal/entry-body.ts";
import type { Journal, StateEntry } from "./journal/journal.ts";
import type { StoredPreview } from "./previews/preview-store.ts";
import { latestPictureUrl, type Previews } from "./previews/previews.ts";

export interface LatestPreviewsOptions {
  journal: Pick<Journal, "head" | "state" | "follow" | "onReset">;
  previews: Pick<Previews, "newest">;
  /** The cameras that have sent something. */
  seenCameras: () => ReadonlySet<string>;
  tree: TopicTree;
  channels: CustomChannels;
  logger: Logger;
}

export interface LatestPreviews {
  /** The `preview.updated` event of each camera's newest preview, for the state of a channel. */
  of(channel: string): StateEntry[];
  stop(): void;
}

/**
 * Previews are not retained, but a dashboard that opens must know when each camera took its newest picture. So their
 * newest events are kept here, and sent with the state of a channel.
 */
export async function followLatestPreviews(options: LatestPreviewsOptions): Promise<LatestPreviews> {
  const { journal, previews, seenCameras, tree, channels, logger } = options;
  const entries = new Map<string, StateEntry>();
  const byChannel = new Map<string, Set<string>>();

  const forget = (camera: string): void => {
    for (const channel of entries.get(camera)?.channels ?? []) {
      const cameras = byChannel.get(channel);
      cameras?.delete(camera);
      if (cameras?.size === 0) byChannel.delete(channel);
    }
    entries.delete(camera);
  };
  const set = (camera: string, entry: StateEntry): void => {
    forget(camera);
    entries.set(camera, entry);
    for (const channel of entry.channels) {
      const cameras = byChannel.get(channel) ?? new Set();
      byChannel.set(channel, cameras.add(camera));
    }
  };

  const entryOf = (camera: string, preview: StoredPreview): StateEntry => {
    const { capture, etag, sizeBytes, savedAt, takenAt } = preview;
    const topic = { kind: "camera-preview", camera, capture } as const;
    const name = tree.build(topic);
    const data: PreviewUpdated = { capture, url: latestPictureUrl(camera), etag, size_bytes: sizeBytes };
    const takenData = takenAt === savedAt ? data : { ...data, taken_at: new Date(takenAt).toISOString() };
    const timestamp = new Date(savedAt).toISOString();
    const place = eventPlace({ camera, topic: name.slice(tree.root.length + 1) });
    const event = { event: "preview.updated", data: takenData, dataText: undefined, timestamp, id: undefined };
    return {
      ...{ topic: name, channels: channelsOf(topic, name, channels), camera, position: journal.head },
      ...{ body: eventBody({ ...event, historical: false, seq: undefined, place }), acceptedAt: savedAt },
    };
  };
  /** Adds the cameras whose newest preview arrived before this server was started, or while it was cut off. */
  const load = async (): Promise<void> => {
    const { head } = journal;
    for (const [camera, preview] of await previews.newest([...seenCameras()])) {
      const known = entries.get(camera);
      if (known === undefined || known.position <= head) set(camera, entryOf(camera, preview));
    }
  };

  const stopFollowing = journal.follow((added) => {
    for (const entry of added) {
      // Every message comes by here.
      if (!entry.topic.includes("/previews/")) continue;
      const topic = tree.parse(entry.topic);
      if (topic?.kind === "camera-preview" && !endOf(entry).historical) set(topic.camera, entry);
    }
  });
  const warn = (err: unknown) => logger.warn({ err }, "the newest pictures of the cameras could not be read");
  const stopResets = journal.onReset(() => void load().catch(warn));
  await load().catch(warn);

  const isKnown = (camera: string) =>
    journal.state(tree.build({ kind: "camera-state", camera, name: PRESENCE_STATE })) !== undefined;
  return {
    of(channel) {
      const found: StateEntry[] = [];
      for (const camera of byChannel.get(channel) ?? []) {
        const entry = entries.get(camera);
        // The state of a removed camera is cleared.
        if (entry === undefined || !isKnown(camera)) forget(camera);
        // After a reset, the journal may end before the position of a lost entry.
        else found.push(entry.position > journal.head ? { ...entry, position: journal.head } : entry);
      }
      return found;
    },
    stop() {
      stopFollowing();
      stopResets();
    },
  };
}
