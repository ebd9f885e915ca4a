import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { onTestFinished, vi } from "vitest";
import type { Cluster } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { type BridgeIngest, createIngest } from "../../../bridge/ingest.ts";
import type { Entry, Journal } from "../../../bridge/journal/journal.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { openPreviews, type Previews } from "../../../bridge/previews/previews.ts";
import { topicTree } from "../../../contract/topics.ts";

export const tree = topicTree();
export const logger = pino({ level: "silent" });
export const START = Date.UTC(2026, 2, 12, 3, 10);

/** The environment of a watcher: a real journal and real documents, which survive {@link Fixture.restart}. */
export interface Fixture {
  journal: Journal;
  cluster: Cluster;
  ingest: BridgeIngest;
  previews: Previews;
  /** Every entry of this run, in the order in which they became durable. */
  entries: Entry[];
  /** Publishes like an MQTT client that the broker has authorized. A `null` body clears the topic. */
  accept(topic: string, body: unknown, options?: { retain?: boolean }): Promise<void>;
  /** The events published to a topic in this run, oldest first. */
  published(topic: string): { event: string; data: unknown }[];
  /** Resolves when the publications under way are in the journal. */
  settled(): Promise<void>;
  /** Closes everything and opens it again on the same disk. */
  restart(options?: { retentionEvents?: number }): Promise<void>;
}

/** Replaces `Date` and intervals by fakes until the end of the test. Disk operations stay real. */
export function useFakeClock(at = START): void {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"], now: at });
  onTestFinished(() => {
    vi.useRealTimers();
  });
}

export async function openFixture(): Promise<Fixture> {
  const path = await mkdtemp(join(tmpdir(), "skylapse-watch-"));
  let close: () => Promise<void> = async () => {};
  let open = await run();

  async function run(retentionEvents = 10_000) {
    const journal = await openLevelJournal({
      ...{ path: join(path, "journal"), sync: false, retentionEvents, retentionHours: 24, logger },
    });
    const cluster = await openLocalCluster({ path: join(path, "cluster"), logger });
    const previews = await openPreviews({ path: join(path, "previews") });
    const channels = new Map();
    const ingest = createIngest({ journal, tree, channels, previews, maxPayloadBytes: 262_144, logger });
    const entries: Entry[] = [];
    journal.follow((batch) => void entries.push(...batch));
    close = async () => {
      await previews.close();
      await cluster.stop();
      await journal.close();
    };
    return { journal, cluster, ingest, previews, entries };
  }

  onTestFinished(async () => {
    await close();
    await rm(path, { recursive: true });
  });

  const fixture: Fixture = {
    ...open,
    async accept(topic, body, { retain = false } = {}) {
      const owner = /^(cameras|processing)\/([^/]+)/.exec(topic);
      const identity = `${owner?.[1] === "cameras" ? "device" : "service"}:${owner?.[2]}`;
      const payload = body === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
      await open.ingest.accept({ identity, topic: `${tree.root}/${topic}`, payload, qos: 1, retain });
    },
    published: (topic) =>
      open.entries
        .filter((entry) => entry.topic === `${tree.root}/${topic}`)
        .map((entry) => {
          const { event, data } = JSON.parse(`{${entry.body}}`);
          return { event, data };
        }),
    // Appends several markers in turn: a watcher's response to one marker is appended before the next marker.
    async settled() {
      for (let turn = 0; turn < 4; turn++)
        await open.ingest.publish({ topic: { kind: "system", name: "marker" }, event: "marker", data: { turn } });
    },
    async restart({ retentionEvents } = {}) {
      await close();
      open = await run(retentionEvents);
      Object.assign(fixture, open);
    },
  };
  return fixture;
}

let ids = 0;

/** A message in the form in which a camera's outbox sends it. */
export function envelope(
  event: string,
  data: unknown,
  more: { seq?: number; session?: string; historical?: boolean; timestamp?: string } = {},
): Record<string, unknown> {
  return { v: 1, id: `e${++ids}`, timestamp: new Date().toISOString(), session: "s1", event, data, ...more };
}
