import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { LocalLeases } from "../../../../bridge/cluster/local/in-memory.ts";
import { type Archive, startArchive } from "../../../../bridge/journal/archive/archive.ts";
import type { Journal } from "../../../../bridge/journal/journal.ts";
import { logger } from "../../cameras/watcher-fixture.ts";
import { createLevelPlace, type LevelPlace } from "../level-place.ts";
import { message, range } from "../messages.ts";
import { PLACES, type TestPlace } from "./archive-places.ts";

const DIST = new URL("../../../../dist/bridge/", import.meta.url);
const workerFile = new URL("journal/archive/worker.js", DIST);

/** A program with a journal and its archive. The tests kill this program. */
const CHILD = `
  const [journalPath, dataPath, databaseUrl] = process.argv.slice(1);
  const { openLevelJournal } = await import("${new URL("journal/stores/level/level.js", DIST)}");
  const { startArchive } = await import("${new URL("journal/archive/archive.js", DIST)}");
  const { LocalLeases } = await import("${new URL("cluster/local/in-memory.js", DIST)}");
  const { pino } = await import("pino");
  const logger = pino({ level: "silent" });
  const retention = { retentionEvents: 100_000, retentionHours: 24 };
  const journal = await openLevelJournal({ path: journalPath, sync: true, logger, ...retention });
  startArchive({
    config: { isOn: true, databaseUrl: databaseUrl || undefined, maxLagEvents: 100_000, retentionDays: {} },
    dataPath, topicRoot: "skylapse/v1", journal, leases: new LocalLeases(), logger,
  });
  setInterval(() => {}, 1_000);
`;

function event() {
  const made = message();
  return { ...made, body: `${made.body.replace("{", '{"text":"sunrise",')},"timestamp":"2026-03-01T06:30:00.000Z"` };
}

describe.each(PLACES)("filling the archive in %s", (name, createPlace) => {
  let place: TestPlace;
  let journals: LevelPlace;
  const archives: Archive[] = [];

  beforeEach(async () => {
    place = await createPlace();
    journals = await createLevelPlace();
  });
  afterEach(async () => {
    for (const archive of archives.splice(0)) await archive.stop();
    await journals.dispose();
    await place.remove();
  });

  const databaseUrl = () => ("url" in place.place ? place.place.url : undefined);
  const dataPath = () => ("path" in place.place ? place.place.path.replace("/archive.db", "") : "");

  function start(journal: Journal, leases = new LocalLeases()): Archive {
    const config = { isOn: true, databaseUrl: databaseUrl(), maxLagEvents: 100_000, retentionDays: {} };
    const options = { config, dataPath: dataPath(), topicRoot: "skylapse/v1", journal, leases, logger, workerFile };
    const archive = startArchive(options);
    archives.push(archive);
    return archive;
  }

  const complete = (archive: Archive) =>
    expect.poll(() => archive.status()).toMatchObject({ behind: 0, unavailableReason: undefined });

  async function positions(): Promise<number[]> {
    return (await place.rows("select position from archive_events order by id")).map(({ position }) =>
      Number(position),
    );
  }

  const count = async () => Number((await place.rows("select count(*) as n from archive_events"))[0].n);

  async function append(journal: Journal, size: number): Promise<void> {
    await Promise.all(range(1, size).map(() => journal.append(event())));
  }

  test("continues after a kill -9 during the filling: no event is missing, and no event is there twice", async () => {
    const journal = await journals.open({ sync: false, retentionEvents: 100_000 });
    await append(journal, 3_000);
    await journal.close();
    for (const least of [1, 1_500]) {
      const args = ["--input-type=module", "-e", CHILD, journals.path, dataPath(), databaseUrl() ?? ""];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
      const exited = once(child, "exit");
      onTestFinished(() => void child.kill("SIGKILL"));
      await expect.poll(() => count().catch(() => 0), { interval: 50 }).toBeGreaterThanOrEqual(least);
      child.kill("SIGKILL");
      await exited;
    }
    const archive = start(await journals.open({ sync: false, retentionEvents: 100_000 }));
    await complete(archive);
    expect(await positions()).toEqual(range(1, 3_000));
    expect(await place.rows("select * from archive_gaps")).toEqual([]);
  });

  test("records a gap for the events that the journal no longer has", async () => {
    const journal = await journals.open({ sync: false, retentionEvents: 30 });
    for (const _ of range(1, 10)) await append(journal, 20);
    await journal.trim();
    // Opens the journal again, so that nothing is read from memory.
    const archive = start(await journals.open({ sync: false, retentionEvents: 30 }));
    await complete(archive);
    const first = (await positions())[0] ?? 0;
    expect(await positions()).toEqual(range(first, 200));
    const gaps = await place.rows("select * from archive_gaps");
    expect(gaps.map(({ after, before, reason }) => [Number(after), Number(before), reason])).toEqual([
      [0, first, "trimmed"],
    ]);
    expect(first).toBeGreaterThan(100);
  });

  test("is continued by another node when a node stops", async () => {
    const journal = await journals.open({ sync: false });
    const leases = new LocalLeases();
    const first = start(journal, leases);
    await append(journal, 500);
    await complete(first);
    // With SQLite, each node has its own archive, so no second node takes part.
    const second = databaseUrl() === undefined ? undefined : start(journal, leases);
    expect(second?.status()?.isFilling ?? false).toBe(false);
    await first.stop();
    await append(journal, 500);
    await complete(second ?? start(journal, leases));
    expect(await positions()).toEqual(range(1, 1_000));
  });

  // The following tests stop the database. SQLite has no process of its own that could stop.
  if (name !== "PostgreSQL") return;

  test("loses no event when the database stops under load, and does not stop appends", async () => {
    const journal = await journals.open({ sync: false, retentionEvents: 20 });
    const archive = start(journal);
    let isLoaded = true;
    const load = (async () => {
      while (isLoaded) {
        await append(journal, 20);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    await expect.poll(() => archive.status()?.position).toBeGreaterThan(200);
    await place.server?.stop();
    await expect.poll(() => archive.status()?.unavailableReason).toBeDefined();
    const { head } = journal;
    await expect.poll(() => journal.head).toBeGreaterThan(head + 500);
    expect(archive.status()?.behind).toBeGreaterThan(500);
    // The journal keeps the events beyond its own retention.
    await journal.trim();
    await place.server?.start();
    await expect.poll(() => archive.status()?.position).toBeGreaterThan(head + 500);
    isLoaded = false;
    await load;
    await complete(archive);
    expect(await positions()).toEqual(range(1, journal.head));
    expect(await place.rows("select * from archive_gaps")).toEqual([]);
  });

  test("stops in time while the database is frozen", async () => {
    const journal = await journals.open({ sync: false });
    const archive = start(journal);
    await append(journal, 10);
    await complete(archive);
    const sessions = await place.rows("select pid from pg_stat_activity where application_name = 'skylapse-archive'");
    for (const { pid } of sessions) process.kill(pid, "SIGSTOP");
    try {
      await append(journal, 10);
      const before = performance.now();
      await archive.stop();
      expect(performance.now() - before).toBeLessThan(10_000);
    } finally {
      for (const { pid } of sessions) process.kill(pid, "SIGCONT");
    }
  });
});
