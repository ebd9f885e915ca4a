import { describe, expect, it } from "vitest";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import type { Problem } from "../../../dashboard-client/client/problems.ts";
import {
  createDashboardStore,
  type DashboardStore,
  type DashboardStoreOptions,
} from "../../../dashboard-client/state/dashboard-store.ts";
import { MAX_CACHED_EVENTS, type TextStorage } from "../../../dashboard-client/state/offline-cache.ts";
import { afterTest, connect, serve, until } from "../support/harness.ts";
import type { ProtocolServer } from "../support/protocol-server.ts";

function memory(): TextStorage & { values: Map<string, string>; writes: number } {
  const values = new Map<string, string>();
  return {
    values,
    writes: 0,
    getItem: (key) => values.get(key) ?? null,
    setItem(key, value) {
      this.writes++;
      values.set(key, value);
    },
    removeItem: (key) => values.delete(key),
  };
}

interface Page {
  store: DashboardStore;
  problems: Problem[];
  hide: () => void;
  /** Ends the page as a reload does: with a `pagehide` first. */
  leave: () => void;
}

/** Opens a page: with its own client and store, and with the browser's storage. */
function open(server: ProtocolServer, storage: TextStorage, options: Partial<DashboardStoreOptions> = {}): Page {
  const problems: Problem[] = [];
  const page = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
  };
  const { client } = connect(server.url);
  const store = createDashboardStore({
    ...{ client, channel: "dashboard", storage, page, notifyIntervalMs: 1, saveIntervalMs: 60_000 },
    ...{ onProblem: (problem: Problem) => problems.push(problem), ...options },
  });
  const stop = store.subscribe(() => {});
  afterTest(stop);
  const hide = (): void => {
    page.window.dispatchEvent(new Event("pagehide"));
  };
  return {
    ...{ store, problems, hide },
    leave: () => {
      hide();
      client.close();
    },
  };
}

const live = ({ store }: Page): Promise<void> => until(() => store.getSnapshot().live);
const positions = ({ store }: Page): number[] => store.getSnapshot().events.map(({ position }) => position);
const presence = (server: ProtocolServer, status: string): DashboardEvent =>
  server.publish({
    ...{ event: `camera.${status}`, camera: "north", topic: "cameras/north/state/presence" },
    data: { status, since: "2026-03-01T06:00:00.000Z" },
  });

describe("a reload", () => {
  it("resumes where the page stopped, without missing or repeating an event", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    presence(server, "online");
    server.publish({});
    await until(() => positions(first).length === 2);
    first.leave();
    server.publish({});
    const second = open(server, storage);
    await live(second);
    await until(() => positions(second).length === 3);
    expect(positions(second)).toEqual([3, 2, 1]);
    expect(second.store.getSnapshot().cameras.get("north")?.presence?.value.status).toBe("online");
    expect(second.store.getSnapshot().newEvents).toBe(1);
    expect((await server.connections[1]?.next("subscribe"))?.since).toEqual({ epoch: "first", position: 2 });
  });

  it("shows the last known state and the state's time if there is no server", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    const seen = presence(server, "online");
    await until(() => positions(first).length === 1);
    const before = Date.now();
    first.leave();
    await server.stop();
    const second = open(server, storage);
    const data = second.store.getSnapshot();
    expect(data).toMatchObject({ live: false, loaded: true, lastEventAt: seen.timestamp, newEvents: 0 });
    expect(data.asOf).toBeLessThanOrEqual(before);
    expect(data.asOf).toBeGreaterThan(before - 10_000);
    expect(data.cameras.get("north")?.presence).toEqual({
      value: { status: "online", since: "2026-03-01T06:00:00.000Z" },
      at: seen.timestamp,
    });
    await until(() => second.store.getSnapshot().connection.cause !== undefined);
    expect(second.store.getSnapshot().asOf).toBe(data.asOf);
    second.leave();
    expect(open(server, storage).store.getSnapshot().asOf).toBe(data.asOf);
  });

  it("starts with the state and shows a gap if the server has another journal", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    presence(server, "online");
    server.publish({});
    await until(() => positions(first).length === 2);
    first.leave();
    server.epoch = "second";
    server.journal = [];
    server.state.clear();
    const second = open(server, storage);
    await live(second);
    expect(second.store.getSnapshot().gap).toMatchObject({ reason: "epoch_changed", after: 2 });
    expect(second.store.getSnapshot().cameras.size).toBe(0);
    expect(second.store.getSnapshot().activity[0]).toMatchObject({ kind: "gap" });
    second.leave();
    const third = open(server, storage);
    expect(third.store.getSnapshot().activity.map(({ kind }) => kind)).toEqual(["gap", "event", "event"]);
  });

  it("keeps the newest events and their times", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    for (let index = 0; index < MAX_CACHED_EVENTS + 30; index++) server.publish({});
    await until(() => positions(first)[0] === MAX_CACHED_EVENTS + 30);
    first.leave();
    await server.stop();
    const events = open(server, storage).store.getSnapshot().events;
    expect(events).toHaveLength(MAX_CACHED_EVENTS);
    expect(events[0]).toMatchObject({ position: MAX_CACHED_EVENTS + 30, timestamp: "2026-03-01T06:30:00.000Z" });
  });

  it.each([
    ["nothing", undefined],
    ["no JSON", "{"],
    ["something else", '{"v":1}'],
    ["another version's", '{"v":2,"asOf":1,"state":[],"events":[],"gaps":[]}'],
  ])("requests the whole state if the storage holds %s", async (_what, text) => {
    const server = await serve();
    const storage = memory();
    if (text !== undefined) storage.setItem("skylapse:dashboard", text);
    const page = open(server, storage);
    await live(page);
    expect((await server.connections[0]?.next("subscribe"))?.since).toBeUndefined();
    expect(page.problems.map(({ kind }) => kind)).toEqual(text === undefined ? [] : ["storage"]);
  });

  it("requests the whole state if the state was too large for the cache", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    for (let index = 0; index < 30; index++)
      server.publish({ camera: "north", topic: `cameras/north/state/s${index}`, data: { text: "x".repeat(40_000) } });
    server.publish({});
    await until(() => positions(first).length === 31);
    first.store.getSnapshot();
    first.leave();
    expect(storage.values.get("skylapse:dashboard")).not.toContain("cursor");
  });

  it("works without a storage, and with a full storage", async () => {
    const server = await serve();
    const full = {
      ...memory(),
      setItem: () => {
        throw new Error("quota");
      },
    };
    const page = open(server, full);
    await live(page);
    server.publish({});
    await until(() => positions(page).length === 1);
    page.hide();
    page.hide();
    expect(page.problems).toEqual([
      { kind: "storage", message: "the state is no longer cached for reloads", detail: new Error("quota") },
    ]);
    await live(open(server, memory(), { storage: null }));
  });

  it("finds nothing after the page has deleted its cache", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    first.hide();
    expect(storage.values.size).toBe(1);
    first.store.forget();
    first.leave();
    expect(storage.values.size).toBe(0);
  });
});

describe("the store", () => {
  it("writes the cache at most once in its interval", async () => {
    const server = await serve();
    const storage = memory();
    const page = open(server, storage, { saveIntervalMs: 50 });
    await live(page);
    const since = Date.now();
    const before = storage.writes;
    for (let index = 0; index < 200; index++) {
      server.publish({});
      await until(() => positions(page)[0] === index + 1);
    }
    expect(storage.writes - before).toBeLessThanOrEqual(Math.ceil((Date.now() - since) / 50) + 1);
    await until(() => storage.values.get("skylapse:dashboard")?.includes('"position":200') ?? false);
  });

  it("is not live from the loss of the connection until it has caught up, and says since when it is not live", async () => {
    const server = await serve();
    const page = open(server, memory());
    await live(page);
    presence(server, "online");
    await until(() => positions(page).length === 1);
    const heard = Date.now();
    server.connections[0]?.cut();
    await until(() => !page.store.getSnapshot().live);
    const lost = page.store.getSnapshot();
    expect(lost.asOf).toBeLessThanOrEqual(heard + 5);
    expect(lost.cameras.get("north")?.presence?.value.status).toBe("online");
    await live(page);
  });

  it("returns the same object until something changes, and unsubscribes when its last listener leaves", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const store = createDashboardStore({ client, channel: "dashboard", storage: null, notifyIntervalMs: 1 });
    const stops = [store.subscribe(() => {}), store.subscribe(() => {})];
    await until(() => store.getSnapshot().live);
    const connection = await server.connection(0);
    expect(store.getSnapshot()).toBe(store.getSnapshot());
    for (const stop of stops) stop();
    await connection.next("unsubscribe");
    const again = store.subscribe(() => {});
    const { since } = await connection.next("subscribe", (message) => message.since !== undefined);
    expect(since).toEqual({ epoch: "first", position: 0 });
    again();
  });

  it("says which cameras the token may control", async () => {
    const server = await serve();
    const page = open(server, memory());
    expect(page.store.getSnapshot().canCommand("north")).toBe(false);
    await live(page);
    expect(page.store.getSnapshot().canCommand("north")).toBe(true);
  });
});
