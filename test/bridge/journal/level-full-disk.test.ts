import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type JournalProcess, startJournalProcess } from "./journal-process.ts";
import { createLevelPlace, type LevelPlace } from "./level-place.ts";
import { positions, range, readAll } from "./messages.ts";

let place: LevelPlace;
let child: JournalProcess;
beforeEach(async () => {
  place = await createLevelPlace();
  child = await startJournalProcess(place.path);
});
afterEach(async () => {
  await child.kill();
  await place.dispose();
});

const messages = (from: number, to: number) => range(from, to).map((seq) => ({ session: "s", seq }));
const accepted = (from: number, to: number) =>
  range(from, to).map((position, index) => expect.objectContaining({ kind: "appended", index, position }));

test("appends on a full disk are rejected without a trace, and reads continue", async () => {
  await child.append([...messages(1, 50), { session: "s", seq: 51, topic: "power" }]);
  child.setDisk(0);
  const refused = await child.append([
    ...messages(52, 70),
    { session: "s", seq: 71, topic: "power" },
    ...messages(52, 52),
  ]);
  for (const report of refused) expect(report).toMatchObject({ kind: "refused", error: /^StoreUnavailableError: / });
  const status = await child.status();
  expect(status).toMatchObject({ head: 51, state: ["power 51"], read: range(1, 51) });
  expect(status.unavailableReason).toMatch(/limit on file size .* raise it/);
});

test("writing recovers by itself with the next append once the disk has room, and skips no position", async () => {
  await child.append(messages(1, 50));
  child.setDisk(0);
  for (const round of range(1, 3)) await child.append(messages(40 + 20 * round, 70 + 20 * round));
  child.setDisk("free");
  // Messages that were rejected before are not duplicates when they are sent again.
  expect(await child.append(messages(51, 150))).toEqual(accepted(51, 150));
  const status = await child.status();
  expect(status).toMatchObject({ head: 150, read: range(1, 150) });
  expect(status.unavailableReason).toBeUndefined();
});

test("sessions of rejected messages are not stored, and evict no other sessions", async () => {
  await child.append(messages(1, 3));
  child.setDisk(0);
  const others = range(1, 100).map((n) => ({ session: `s${n}`, seq: 1 }));
  for (const report of await child.append([...others, ...messages(4, 4)])) expect(report.kind).toBe("refused");
  child.setDisk("free");
  expect(await child.append([...messages(4, 4), ...others])).toEqual(accepted(4, 104));
  for (const report of await child.append([...messages(1, 4), ...others])) {
    expect(report.kind).toBe("appended");
    expect(report).not.toHaveProperty("position");
  }
});

test("the journal becomes available again even without an append", async () => {
  child.setDisk(0);
  await child.append(messages(1, 1));
  expect((await child.status()).unavailableReason).toBeDefined();
  child.setDisk("free");
  await expect.poll(async () => (await child.status()).unavailableReason).toBeUndefined();
  expect(await child.append(messages(1, 1))).toEqual(accepted(1, 1));
});

test("a partial write does not damage later writes", async () => {
  await child.append(messages(1, 50));
  for (const round of range(1, 3)) {
    const log =
      (await readdir(join(place.path, "log")))
        .filter((name) => name.endsWith(".log"))
        .sort()
        .at(-1) ?? "";
    child.setDisk((await stat(join(place.path, "log", log))).size + 1_500 * round);
    for (const report of await child.append(messages(1_000, 1_020))) expect(report).toMatchObject({ kind: "refused" });
    child.setDisk("free");
    expect(await child.append(messages(50 * round + 1, 50 * round + 50))).toEqual(
      accepted(50 * round + 1, 50 * round + 50),
    );
  }
  await child.kill();
  const journal = await place.open();
  expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, 200));
  expect(place.logged).toEqual([]);
});

test("a program that is killed on a full disk keeps all acknowledged messages and no rejected messages", async () => {
  await child.append(messages(1, 30));
  child.setDisk(0);
  await child.append([...messages(31, 60), { session: "s", seq: 61, topic: "power" }]);
  child.setDisk("free");
  await child.append(messages(100, 129));
  child.setDisk(0);
  await child.append(messages(130, 160));
  await child.kill();

  const journal = await place.open();
  const entries = await readAll(journal, ["dashboard"]);
  expect(positions(entries)).toEqual(range(1, 60));
  const found = entries.map(({ body }) => Number(body.split(" ")[1]));
  expect(found).toEqual([...range(1, 30), ...range(100, 129)]);
  expect(journal.snapshot("dashboard")).toEqual([]);
});
