import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MAX_WAITING_WRITES } from "../../../bridge/cluster/limits.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { type LocalProcess, startLocalProcess } from "./local-process.ts";

let path: string;
let child: LocalProcess;
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "skylapse-cluster-"));
  child = await startLocalProcess(path);
});
afterEach(async () => {
  await child.kill();
  await rm(path, { recursive: true, force: true });
});

const text = (letter: string) => letter.repeat(1_000);

test("written documents survive kill -9", async () => {
  await child.put({ key: "a", value: 1 }, { key: "b", value: 2 });
  await child.put({ key: "a", value: 3 });
  await child.kill();
  child = await startLocalProcess(path);
  expect((await child.put()).found).toEqual({ a: 3, b: 2 });
});

test("writes are rejected on a full disk and recover by themselves when there is room, and all documents are kept", async () => {
  await child.put({ key: "kept", value: text("k") }, { key: "changed", value: text("a") });
  child.setDisk(0);
  const refused = await child.put({ key: "changed", value: text("b") }, { key: "new", value: text("n") });
  expect(refused.refusals).toEqual(["StoreUnavailableError", "StoreUnavailableError"]);
  expect(refused.found).toEqual({ kept: text("k"), changed: text("a") });
  expect(refused.unavailableReason).toMatch(/limit on file size/);
  child.setDisk("free");
  await expect.poll(async () => (await child.put()).unavailableReason).toBeUndefined();
  expect((await child.put()).found).toEqual({ kept: text("k"), changed: text("a") });
  expect((await child.put({ key: "new", value: 1 })).found).toMatchObject({ new: 1 });
  await child.kill();
  child = await startLocalProcess(path);
  expect((await child.put()).found).toEqual({ kept: text("k"), changed: text("a"), new: 1 });
});

test("the number of writes that wait for the disk is limited", async () => {
  const own = await mkdtemp(join(tmpdir(), "skylapse-cluster-"));
  const cluster = await openLocalCluster({ path: own, logger: pino({ level: "silent" }) });
  const writes = Array.from({ length: MAX_WAITING_WRITES + 1 }, (_, n) => cluster.documents.put("notes", "x", n));
  const outcomes = await Promise.allSettled(writes);
  const last = outcomes.at(-1);
  expect(last).toMatchObject({ status: "rejected", reason: expect.any(StoreUnavailableError) });
  expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(1);
  expect((await cluster.documents.get("notes", "x"))?.value).toBe(MAX_WAITING_WRITES - 1);
  await cluster.stop();
  await rm(own, { recursive: true });
});
