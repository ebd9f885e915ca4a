import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Appended, Entry, Journal, JournalMessage } from "../../../bridge/journal/journal.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { from, message, positions, range, readAll, state } from "./messages.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

/** For tests in which Redis may be slow, but must not be regarded as hanging. */
const PATIENT = { blockMs: 50, heartbeatMs: 50 };
/** For tests in which Redis hangs. */
const QUICK = { waits: PATIENT, commandTimeoutMs: 400 };

let server: RedisServer;
let place: RedisPlace;

beforeEach(async () => {
  server = await startRedis();
  place = await createRedisPlace(server.url);
});
afterEach(async () => {
  server.process.kill("SIGCONT");
  await place.dispose();
  await server.remove();
});

function follow(journal: Journal): Entry[] {
  const followed: Entry[] = [];
  journal.follow((entries) => followed.push(...entries));
  return followed;
}

function reset(journal: Journal): Promise<void> {
  return new Promise((resolve) => journal.onReset(() => resolve()));
}

/** Like a camera, sends the message again until it is acknowledged. */
async function deliver(journal: Journal, seq: number): Promise<Appended> {
  return await deliverMessage(journal, message({ ...from("device:north", "s", seq), body: `"seq":${seq}` }));
}

async function deliverMessage(journal: Journal, sent: JournalMessage): Promise<Appended> {
  for (;;) {
    try {
      return await journal.append(sent);
    } catch (error) {
      expect(error).toMatchObject({ name: "StoreUnavailableError" });
      await expect.poll(() => journal.unavailableReason, { interval: 10 }).toBeUndefined();
    }
  }
}

async function seqs(journal: Journal): Promise<number[]> {
  return (await readAll(journal, ["dashboard"])).map(({ body }) => Number(body.slice(6)));
}

test("while Redis hangs, appends are rejected with the reason, all but the first at once, and recover afterwards", async () => {
  const journal = await place.open(QUICK);
  const followed = follow(journal);
  await deliver(journal, 1);
  server.process.kill("SIGSTOP");
  await expect(journal.append(message())).rejects.toMatchObject({
    name: "StoreUnavailableError",
    message: expect.stringMatching(/does not answer|cannot be reached/),
  });
  expect(journal.unavailableReason).toMatch(/does not answer|cannot be reached/);
  const elapsedMs = startRunningClock();
  for (const _ of range(1, 1_000)) await expect(journal.append(message())).rejects.toThrow(/Redis/);
  // None of these appends waited for Redis.
  expect(elapsedMs()).toBeLessThan(25 * QUICK.commandTimeoutMs);
  server.process.kill("SIGCONT");
  await expect.poll(() => journal.unavailableReason).toBeUndefined();
  await deliver(journal, 2);
  // Ignores the rejected appends, of which Redis may have executed the first when it continued.
  expect((await seqs(journal)).filter((seq) => seq > 0)).toEqual([1, 2]);
  expect(positions(followed)).toEqual(range(1, journal.head));
});

test("an append whose reply was lost is a duplicate when it is sent again", async () => {
  const journal = await place.open(QUICK);
  // From now on Redis has the script cached.
  await deliverMessage(journal, message(from("device:north", "first", 1)));
  let seq = 0;
  let wasCarriedOut = false;
  // Tries several times, because Redis may drop the unread input of a closed connection: then Redis executes nothing.
  while (!wasCarriedOut && seq < 5) {
    const sent = message(from("device:north", "s", ++seq));
    server.process.kill("SIGSTOP");
    await expect(journal.append(sent)).rejects.toThrow(/does not answer|cannot be reached/);
    server.process.kill("SIGCONT");
    await expect.poll(() => journal.unavailableReason).toBeUndefined();
    wasCarriedOut = (await deliverMessage(journal, sent)).duplicate;
  }
  expect(wasCarriedOut).toBe(true);
  expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, seq + 1));
});

test("when Redis is killed and restarted during appends, no acknowledged message is lost or duplicated", async () => {
  const [one, other] = await Promise.all([place.openNode({ waits: PATIENT }), place.openNode({ waits: PATIENT })]);
  const followed = [follow(one), follow(other)];
  const { epoch } = one;
  let next = 0;
  const work = [one, other].flatMap((node) =>
    range(1, 10).map(async () => {
      while (next < 3_000) await deliver(node, ++next);
    }),
  );
  for (const at of [500, 1_500]) {
    await expect.poll(() => next, { interval: 1 }).toBeGreaterThan(at);
    await server.stop("SIGKILL");
    await server.start();
  }
  await Promise.all(work);
  await expect.poll(() => [one.head, other.head]).toEqual([next, next]);
  expect((await seqs(one)).sort((a, b) => a - b)).toEqual(range(1, next));
  for (const entries of followed) expect(positions(entries)).toEqual(range(1, one.head));
  expect([one.epoch, other.epoch]).toEqual([epoch, epoch]);
});

test.each(["restarted without its data", "emptied"])(
  "when Redis is %s, all nodes continue with the same new epoch",
  async (how) => {
    const [one, other] = await Promise.all([place.openNode({ waits: PATIENT }), place.openNode({ waits: PATIENT })]);
    const followed = follow(other);
    const { epoch } = one;
    await one.append(state("north", "power"));
    await deliver(one, 1);
    await expect.poll(() => other.head).toBe(2);
    const resets = Promise.all([reset(one), reset(other)]);
    if (how === "emptied") await place.admin.flushall();
    else {
      await server.stop("SIGKILL");
      await server.startEmpty();
    }
    await resets;
    expect(one.epoch).not.toBe(epoch);
    expect(other.epoch).toBe(one.epoch);
    for (const node of [one, other]) {
      expect(node.head).toBe(0);
      expect(node.snapshot("dashboard")).toEqual([]);
      expect(node.recovery("dashboard", { epoch, position: 2 })).toMatchObject({ reason: "epoch_changed" });
    }
    // Lost messages can be sent again: the empty store does not know their sequence numbers.
    expect(await deliver(one, 1)).toMatchObject({ position: 1 });
    expect(await deliver(other, 2)).toMatchObject({ position: 2 });
    await expect.poll(() => positions(followed)).toEqual([1, 2, 1, 2]);
    expect(place.logged.join()).toMatch(/acknowledged events are lost/);
  },
);

test("when Redis is rolled back to an earlier state, a new epoch continues the journal, and each node reports what it lost", async () => {
  const onDamage = vi.fn();
  const [one, other] = await Promise.all([
    place.openNode({ waits: PATIENT, onDamage }),
    place.openNode({ waits: PATIENT, onDamage }),
  ]);
  const { epoch } = one;
  const [, folder = ""] = (await place.admin.config("GET", "dir")) as [string, string];
  for (const seq of range(1, 5)) await deliver(one, seq);
  await server.stop();
  await cp(join(folder, "appendonlydir"), join(folder, "old"), { recursive: true });
  await server.start();
  for (const seq of range(6, 10)) await deliver(one, seq);
  await expect.poll(() => other.head).toBe(10);
  const resets = Promise.all([reset(one), reset(other)]);
  await server.stop();
  await rm(join(folder, "appendonlydir"), { recursive: true });
  await cp(join(folder, "old"), join(folder, "appendonlydir"), { recursive: true });
  await server.start();
  await resets;
  expect(one.epoch).not.toBe(epoch);
  expect(other.epoch).toBe(one.epoch);
  const reason = "epoch_changed";
  for (const node of [one, other]) {
    const recovery = (position: number) => node.recovery("dashboard", { epoch, position });
    expect(recovery(10)).toEqual({ complete: false, reason, gap: { after: 5, before: 11 }, keptFrom: 5 });
    expect(recovery(3)).toEqual({ complete: false, reason, gap: { after: 3, before: 4 }, keptFrom: 3 });
  }
  expect([one.lostEvents, other.lostEvents]).toEqual([5, 0]);
  expect(onDamage.mock.calls).toEqual([
    [expect.objectContaining({ missing: `5 events of this node, among the positions 6 to 10 of epoch ${epoch}` })],
  ]);
  expect(await deliver(one, 5)).toMatchObject({ duplicate: true });
  expect(await deliver(one, 6)).toMatchObject({ position: 6 });
  await expect.poll(() => seqs(other)).toEqual(range(1, 6));
});

test("when Redis is out of memory, appends are rejected completely, with the reason", async () => {
  const journal = await place.open({ waits: PATIENT });
  const admin = place.admin;
  await deliver(journal, 1);
  await admin.config("SET", "maxmemory", "1");
  await expect(journal.append(message())).rejects.toThrow(/memory.*maxmemory/);
  expect(journal.unavailableReason).toMatch(/out of memory/);
  await admin.config("SET", "maxmemory", "0");
  await expect.poll(() => journal.unavailableReason).toBeUndefined();
  await deliver(journal, 2);
  expect(await seqs(journal)).toEqual([1, 2]);
});

test("appends are rejected while Redis is a replica, and work again when Redis is a master", async () => {
  const journal = await place.open({ waits: PATIENT });
  const admin = place.admin;
  await admin.replicaof("127.0.0.1", 1);
  await expect(journal.append(message())).rejects.toThrow(/replica|cannot be reached/);
  expect(journal.unavailableReason).toMatch(/replica|cannot be reached/);
  await admin.replicaof("NO", "ONE");
  await expect.poll(() => journal.unavailableReason).toBeUndefined();
  await deliver(journal, 1);
});

test("opening the journal waits a limited time for Redis", async () => {
  await server.stop();
  await expect(place.open({ waits: { openTimeoutMs: 200 } })).rejects.toMatchObject({
    name: "StoreUnavailableError",
    message: expect.stringMatching(/cannot be reached/),
  });
  const opening = place.open({ waits: { openTimeoutMs: 10_000 } });
  await server.start();
  expect((await opening).head).toBe(0);
});

test("closing while Redis hangs takes a limited time and rejects pending appends", async () => {
  const journal = await place.open(QUICK);
  server.process.kill("SIGSTOP");
  const append = journal.append(message());
  const refused = expect(append).rejects.toMatchObject({ name: "StoreUnavailableError" });
  await journal.close();
  await refused;
});
