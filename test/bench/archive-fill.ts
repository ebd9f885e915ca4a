import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kysely, sql } from "kysely";
import type { CoverageQuery } from "../../bridge/journal/archive/coverage.ts";
import { type ArchiveDatabase, openArchiveDatabase } from "../../bridge/journal/archive/database.ts";
import { SERIES_FIELDS } from "../../bridge/journal/archive/measures.ts";
import { type ArchiveQuery, eventsQuery } from "../../bridge/journal/archive/pages.ts";
import { postgresDialect } from "../../bridge/journal/archive/postgres.ts";
import type { ReadingsQuery } from "../../bridge/journal/archive/readings.ts";
import type { ArchivedEntry } from "../../bridge/journal/archive/rows.ts";
import { readSeries } from "../../bridge/journal/archive/series.ts";
import { sqliteDialect } from "../../bridge/journal/archive/sqlite.ts";
import type { Tables } from "../../bridge/journal/archive/tables.ts";
import { topicTree } from "../../contract/topics.ts";
import { startPostgres } from "../support/postgres.ts";

// Fills the archive and prints how long pages take, with the plan of each query: `npm run bench:archive -- [events]
// [sqlite|postgres] [cameras]`. With one camera, a series of its year reads all events. A row of `npm run bench` shows how much the archive slows ingest.

const EVENTS = Number(process.argv[2] ?? 1_000_000);
const PARTS = process.argv[3]?.split(",") ?? ["sqlite", "postgres"];
const CAMERAS = Number(process.argv[4] ?? 50);
const BATCH = 1_000;
const REPEATS = 20;
const START = Date.UTC(2026, 0, 1);
/** A year of 50 cameras has 100 million events: one every 315 ms. */
const SPACING_MS = 315;

function entry(position: number): ArchivedEntry {
  const camera = `camera-${position % CAMERAS}`;
  const isRare = position % 50_000 === 17;
  const event = isRare ? "capture.failed" : ["capture.completed", "capture.started", "resource.update"][position % 3];
  const name = isRare || position % 3 !== 2 ? `events/${event}` : "state/power";
  const acceptedAt = START + position * SPACING_MS;
  const reading = { source: position % 7 === 0 ? "solar" : "battery", battery_percent: position % 100 };
  const data = isRare
    ? { error: `The lens cap of ${camera} is frozen shut`, failures: 1 }
    : event === "resource.update"
      ? reading
      : {
          capture: `c${position}`,
          width: 4056,
          height: 3040,
          size_bytes: 4_123_456,
          settings: { exposure_s: 1 / ((position % 900) + 1), iso: 100, white_balance: "daylight" },
        };
  const timestamp = new Date(acceptedAt).toISOString();
  return {
    ...{ position, camera, acceptedAt },
    topic: `skylapse/v1/cameras/${camera}/${name}`,
    channels: [`camera:${camera}`, "dashboard"],
    body: `"event":"${event}","data":${JSON.stringify(data)},"timestamp":"${timestamp}","id":"01JQ8W6ZK9${String(position).padStart(16, "0")}","camera":"${camera}","topic":"cameras/${camera}/${name}","seq":${position}`,
  };
}

const reader = { builtIn: ["dashboard"], onlyCameras: undefined, cameras: "all", custom: [] } as const;
const middle = START + (EVENTS / 2) * SPACING_MS;

const QUERIES: Record<string, Partial<ArchiveQuery>> = {
  "newest page": {},
  "a camera": { camera: "camera-7" },
  "an event of a camera": { camera: "camera-7", event: "capture.completed" },
  "a rare event": { event: "capture.failed" },
  "a rare event of a camera": { camera: "camera-17", event: "capture.failed" },
  "a kind": { kind: "state" },
  "a time in the middle": { from: middle, to: middle + 3_600_000 },
  "a camera at a time": { camera: "camera-7", from: middle, to: middle + 3_600_000 },
  "a reader of 3 cameras": {
    access: { builtIn: [], onlyCameras: undefined, cameras: ["camera-1", "camera-2", "camera-3"], custom: [] },
  },
  "rare words": { words: ["frozen", "lens"] },
  "a common word": { words: ["daylight"] },
  "a common word of a camera": { words: ["daylight"], camera: "camera-7" },
  "a word that no event has": { words: ["zeppelin"] },
};

const SERIES_DAYS = [1, 30, 366];

async function measureSeries(archive: ArchiveDatabase): Promise<void> {
  const end = START + EVENTS * SPACING_MS;
  for (const days of SERIES_DAYS) {
    const times: number[] = [];
    let longest = 0;
    const source = {
      coverage: (query: CoverageQuery) => archive.coverage(query),
      async readings(query: ReadingsQuery) {
        const before = performance.now();
        const found = await archive.readings(query);
        longest = Math.max(longest, performance.now() - before);
        return found;
      },
    };
    let points = 0;
    for (let repeat = 0; repeat < 5; repeat++) {
      const before = performance.now();
      const query = { camera: "camera-0", fields: SERIES_FIELDS, from: end - days * 86_400_000, to: end, points: 300 };
      points = [...(await readSeries(source, query, end)).points.values()].reduce((sum, all) => sum + all.length, 0);
      times.push(performance.now() - before);
    }
    times.sort((one, other) => one - other);
    const [first = 0, , median = 0, , worst = 0] = times;
    const spread = `${first.toFixed(0)} / ${median.toFixed(0)} / ${worst.toFixed(0)} ms`;
    console.log(`  a series of ${days} days: ${points} points, ${spread}, longest query ${longest.toFixed(0)} ms`);
  }
}

async function measure(engine: "sqlite" | "postgres", place: string): Promise<void> {
  const dialect = () => (engine === "sqlite" ? sqliteDialect(place) : postgresDialect(place, () => undefined));
  const archive = await openArchiveDatabase({ dialect: dialect(), engine, tree: topicTree() });
  const started = performance.now();
  for (let after = 0; after < EVENTS; after += BATCH) {
    const entries = Array.from({ length: BATCH }, (_, index) => entry(after + index + 1));
    await archive.append({ epoch: "bench", after, next: after + BATCH, entries });
  }
  const seconds = (performance.now() - started) / 1_000;
  console.log(`\n${engine}: ${EVENTS} events in ${seconds.toFixed(1)} s, ${Math.round(EVENTS / seconds)} a second`);
  if (engine === "sqlite") console.log(`${Math.round((await stat(place)).size / EVENTS)} bytes an event on the disk`);
  const db = new Kysely<Tables>({ dialect: dialect() });
  for (const [name, given] of Object.entries(QUERIES)) {
    const query: ArchiveQuery = { access: reader, limit: 100, ...given };
    const times: number[] = [];
    let found = 0;
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      const before = performance.now();
      found = (await archive.page(query)).events.length;
      times.push(performance.now() - before);
    }
    times.sort((one, other) => one - other);
    const [first = 0, median = 0, worst = 0] = [times[0], times[REPEATS / 2], times.at(-1)];
    console.log(`  ${name}: ${found} events, ${first.toFixed(1)} / ${median.toFixed(1)} / ${worst.toFixed(1)} ms`);
    const plan = await eventsQuery(db, engine, query, { first: 0, last: Number.MAX_SAFE_INTEGER }).explain(
      undefined,
      engine === "sqlite" ? sql`query plan` : undefined,
    );
    for (const step of plan) console.log(`      ${step.detail ?? step["QUERY PLAN"]}`);
  }
  await measureSeries(archive);
  await db.destroy();
  await archive.close();
}

const folder = await mkdtemp(join(tmpdir(), "archive-bench-"));
try {
  if (PARTS.includes("sqlite")) await measure("sqlite", join(folder, "bench.db"));
  if (PARTS.includes("postgres")) {
    const server = await startPostgres();
    try {
      await measure("postgres", server.url);
    } finally {
      await server.remove();
    }
  }
} finally {
  await rm(folder, { recursive: true });
}
