import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it, onTestFinished } from "vitest";
import { openArchiveDatabase } from "../../../bridge/journal/archive/database.ts";
import { postgresDialect } from "../../../bridge/journal/archive/postgres.ts";
import { topicTree } from "../../../contract/topics.ts";
import { startPostgres } from "../../support/postgres.ts";
import { POSTGRES_BIN } from "../../support/programs.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";

const run = promisify(execFile);
const program = (name: string, ...args: string[]) => run(join(POSTGRES_BIN, name), args);
const EPOCH = "epoch-1";

async function openArchive(url: string) {
  const dialect = postgresDialect(url, () => undefined);
  const archive = await openArchiveDatabase({ dialect, engine: "postgres", tree: topicTree() });
  const append = (after: number, ...positions: number[]) =>
    archive.append({ epoch: EPOCH, after, next: positions.at(-1) ?? after, entries: positions.map(entry) });
  const read = async (query: object = {}) =>
    (await archive.page({ access: "all", limit: 10, ...query })).events.map(({ position }) => position);
  return { archive, append, read };
}

function entry(position: number) {
  const time = Date.UTC(2026, 2, 1) + position * 1000;
  return {
    position,
    topic: "skylapse/v1/cameras/north/events/note.written",
    channels: ["camera:north", "dashboard"],
    camera: "north",
    acceptedAt: time,
    body: `"event":"note.written","data":{"text":"marmot"},"timestamp":"${new Date(time).toISOString()}","id":"e${position}"`,
  };
}

// The commands are those of docs/operations.md, "With PostgreSQL".
it("restores a copy of the archive into a new database, where the archive continues at the position of the copy", async () => {
  const server = await startPostgres();
  onTestFinished(() => server.remove());
  const folder = makeDataPath();
  onTestFinished(() => removeDataPath(folder));
  const dump = join(folder, "archive.dump");
  const before = await openArchive(server.url);
  await before.append(0, 1, 2, 3);
  // The copy is made while the archive is in use.
  await program("pg_dump", "-Fc", "-d", server.url, "-f", dump);
  await before.append(3, 4, 5);
  await before.archive.close();

  const url = server.url.replace(/postgres$/, "restored");
  await program("createdb", "--maintenance-db", server.url, "restored");
  await program("pg_restore", "-d", url, "--clean", "--if-exists", "--no-owner", "--exit-on-error", dump);
  const after = await openArchive(url);
  onTestFinished(() => after.archive.close());
  expect(await after.archive.position()).toEqual({ epoch: EPOCH, position: 3 });
  expect(await after.read()).toEqual([3, 2, 1]);
  // Append the events that the copy lacks, as a server does from its journal.
  expect(await after.append(3, 4, 5)).toBe(true);
  expect(await after.read({ words: ["marmot"] })).toEqual([5, 4, 3, 2, 1]);
});
