import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { withFairShares } from "../../../bridge/journal/shared-channels.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { createLevelPlace } from "./level-place.ts";
import { message, positions, readAll, state } from "./messages.ts";
import { createRedisPlace } from "./redis-place.ts";

const RETENTION_EVENTS = 100;
let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

/** Journals whose channels keep 100 events. A sender with more than 10 of these events gets a separate log. */
const STORES: Record<string, () => Promise<() => Promise<Journal>>> = {
  LevelDB: async () => {
    const place = await createLevelPlace();
    onTestFinished(() => place.dispose());
    return () => place.open({ retentionEvents: RETENTION_EVENTS });
  },
  Redis: async () => {
    const place = await createRedisPlace(redis.url);
    onTestFinished(() => place.dispose());
    return () => place.open({ retentionEvents: RETENTION_EVENTS });
  },
};

describe.each(Object.keys(STORES))("a channel with many senders, in %s", (name) => {
  const openPlace = async () => {
    const open = await STORES[name]?.();
    if (open === undefined) throw new Error(`there is no store ${name}`);
    return async () => withFairShares(await open(), { retentionEvents: RETENTION_EVENTS, sharePercent: 10 });
  };
  const quiet = (journal: Journal, camera: string) => journal.append(message({ camera }));
  const flood = async (journal: Journal, count: number) => {
    for (let n = 0; n < count; n++) await journal.append(message({ camera: "flood" }));
  };

  it("keeps the events of all other cameras when one camera floods the channel", async () => {
    const open = await openPlace();
    let journal = await open();
    for (const camera of ["north", "south", "east"]) await quiet(journal, camera);
    await flood(journal, 500);
    await quiet(journal, "west");
    await journal.trim();
    const cameras = async () => {
      const entries = await readAll(journal, ["dashboard"]);
      expect(positions(entries)).toEqual(positions(entries).toSorted((a, b) => a - b));
      for (const { channels } of entries) expect(channels).toContain("dashboard");
      return entries.map(({ camera }) => camera).filter((camera) => camera !== "flood");
    };
    expect(await cameras()).toEqual(["north", "south", "east", "west"]);
    // The flooding camera keeps its newest events: its share of the channel, and a full separate log.
    const own = (await readAll(journal, ["dashboard"])).filter(({ camera }) => camera === "flood");
    expect(own.at(-1)?.position).toBe(journal.head - 1);
    expect(own.length).toBeLessThanOrEqual(RETENTION_EVENTS + RETENTION_EVENTS / 10);
    journal = await open();
    expect(await cameras()).toEqual(["north", "south", "east", "west"]);
  });

  it("reports a gap for the flood's lost events, and the position from which other events are kept", async () => {
    const journal = await (await openPlace())();
    await quiet(journal, "north");
    await flood(journal, 300);
    await journal.trim();
    const { epoch } = journal;
    const recovery = journal.recovery("dashboard", { epoch, position: 1 });
    expect(recovery).toMatchObject({ complete: false, reason: "trimmed", keptFrom: 1 });
    if (recovery.complete) throw new Error("there is a gap");
    expect(recovery.gap.after).toBe(1);
    // All entries after the gap are kept.
    const { before } = recovery.gap;
    expect(journal.recovery("dashboard", { epoch, position: before - 1 })).toEqual({ complete: true });
    const rest = await readAll(journal, ["dashboard"], { after: before - 1 });
    expect(rest).toHaveLength(journal.head - before + 1);
    expect((await journal.replay({ channels: ["dashboard"], after: 1 })).gap).toEqual(recovery.gap);
  });

  it("returns the state of all senders in order, under the channel's name", async () => {
    const journal = await (await openPlace())();
    const seen: (readonly string[])[] = [];
    journal.follow((entries) => seen.push(...entries.map(({ channels }) => channels)));
    await journal.append(state("north", "power"));
    for (let n = 0; n < 30; n++) await journal.append(state("flood", `s${n}`));
    const snapshot = journal.snapshot("dashboard");
    expect(positions(snapshot)).toEqual(Array.from({ length: 31 }, (_, index) => index + 1));
    expect(new Set(snapshot.map(({ channels }) => channels.join()))).toEqual(
      new Set(["camera:north,dashboard", "camera:flood,dashboard"]),
    );
    expect(journal.state("skylapse/v1/cameras/flood/state/s29")?.channels).toEqual(["camera:flood", "dashboard"]);
    expect(seen.every((channels) => channels.includes("dashboard"))).toBe(true);
  });

  it("returns a sender to the channel's log once the sender sends less", async () => {
    const journal = await (await openPlace())();
    await flood(journal, 60);
    for (let round = 0; round < 60; round++)
      for (let camera = 0; camera < 15; camera++) await quiet(journal, `c${camera}`);
    const before = journal.head;
    await quiet(journal, "flood");
    const [entry] = await readAll(journal, ["dashboard"], { after: before });
    expect(entry?.camera).toBe("flood");
    const logs = [...journal.channelNames()].filter((log) => log.startsWith("dashboard:"));
    expect(logs).toEqual(["dashboard:flood"]);
    // The separate log keeps the old entries. The newest entry is in the channel's log.
    const [newest] = (await journal.replay({ channels: ["dashboard:flood"], after: 60 })).entries;
    expect(newest).toBeUndefined();
  });
});
