import type { BackendEvent, Publish } from "../../../bridge/broker-link/publish.ts";
import { NO_CHANNEL } from "../../../bridge/journal/core/channels.ts";
import type { Entry, Journal, StateEntry } from "../../../bridge/journal/journal.ts";
import { cameraOfTopic, channelsOf } from "../../../contract/channels.ts";
import type { Topic, TopicTree } from "../../../contract/topics.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";

/**
 * A journal in memory that appends synchronously, for tests with a fake clock, because a disk needs real time. While
 * `unavailableReason` is set, publishing fails.
 */
export type MemoryJournal = Pick<Journal, "follow" | "snapshot" | "state"> & {
  unavailableReason: string | undefined;
  entries: Entry[];
  publish: Publish;
  /** Appends a message of a device. */
  receive(topic: Topic, data: unknown, more?: MessageOptions): void;
};

interface MessageOptions {
  event?: string;
  historical?: boolean;
  retain?: boolean;
  /** By the sender's clock, RFC 3339. Default: now. */
  timestamp?: string;
}

export function memoryJournal(tree: TopicTree): MemoryJournal {
  const followers = new Set<(entries: readonly Entry[]) => void>();
  const states = new Map<string, StateEntry>();
  const journal: MemoryJournal = {
    unavailableReason: undefined,
    entries: [],
    follow(onEntries) {
      followers.add(onEntries);
      return () => followers.delete(onEntries);
    },
    snapshot: (channel) =>
      [...states.values()].filter(({ channels }) =>
        channel === NO_CHANNEL ? channels.length === 0 : channels.includes(channel),
      ),
    state: (topic) => states.get(topic),
    async publish(message) {
      if (journal.unavailableReason !== undefined) throw new StoreUnavailableError(journal.unavailableReason);
      return { position: append(message) };
    },
    receive(topic, data, { event = "received", historical = false, retain = false, timestamp } = {}) {
      append({ topic, event, data, historical, retain }, timestamp);
    },
  };

  function append(
    { topic, event, data, retain = false, historical = false }: BackendEvent,
    timestamp = new Date().toISOString(),
  ): number {
    if (topic.kind === "camera-other" || topic.kind === "service-other") throw new Error("not a topic of the contract");
    const name = tree.build(topic);
    const content = { event, data, timestamp, ...(historical ? { historical } : {}) };
    const entry: Entry = {
      position: journal.entries.length + 1,
      topic: name,
      channels: channelsOf(topic, name, new Map()),
      camera: cameraOfTopic(topic),
      body: JSON.stringify(content).slice(1, -1),
      state: !retain || historical ? undefined : data === null ? "clear" : "set",
      acceptedAt: Date.now(),
    };
    if (entry.state === "set") states.set(name, entry);
    if (entry.state === "clear") states.delete(name);
    journal.entries.push(entry);
    for (const follower of followers) follower([entry]);
    return entry.position;
  }

  return journal;
}

/** The events published to a topic, oldest first. */
export function published(journal: MemoryJournal, topic: string): { event: string; data: unknown }[] {
  return journal.entries
    .filter((entry) => entry.topic === topic)
    .map((entry) => {
      const { event, data } = JSON.parse(`{${entry.body}}`);
      return { event, data };
    });
}
