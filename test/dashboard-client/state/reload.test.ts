import { describe, expect, it, onTestFinished } from "vitest";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import type { Problem } from "../../../dashboard-client/client/problems.ts";
import {
  createDashboardStore,
  type DashboardStore,
  type DashboardStoreOptions,
} from "../../../dashboard-client/state/dashboard-store.ts";
import { MAX_CACHED_EVENTS } from "../../../dashboard-client/state/offline-cache.ts";
import type { StateStorage } from "../../../dashboard-client/state/state-storage.ts";
import { connect, serve, until } from "../support/harness.ts";
import type { ProtocolServer } from "../support/protocol-server.ts";

interface Memory extends StateStorage {
  scopes: Map<string, Map<string, unknown>>;
  writes: number;
  /** The rows that the last write changed. */
  lastWrite: string[];
}

function memory(): Memory {
  const scopes = new Map<string, Map<string, unknown>>();
  return {
    scopes,
    writes: 0,
    lastWrite: [],
    read: async (scope) => new Map(scopes.get(scope)),
    async update(scope, head, change) {
      const held = scopes.get(scope) ?? new Map();
      const changed = change(held.get(head));
      if (changed === undefined) return;
      const rows = new Map(changed.replacesAll ? [] : held);
      for (const [row, value] of changed.rows) {
        if (value === undefined) rows.delete(row);
        else rows.set(row, structuredClone(value));
      }
      scopes.set(scope, rows);
      this.writes++;
      this.lastWrite = [...changed.rows.keys()];
    },
    clear: async (scope) => void scopes.delete(scope),
  };
}

const SCOPE = "skylapse:dashboard";
const head = (storage: Memory): Record<string, unknown> => Object(storage.scopes.get(SCOPE)?.get("head"));

interface Page {
  store: DashboardStore;
  problems: Problem[];
  hide: () => void;
  /** Ends the page as a reload does: with a `pagehide` first. */
  leave: () => void;
}

/** Opens a page: with its own client and store, and with the browser's storage. */
function open(server: ProtocolServer, storage: StateStorage, options: Partial<DashboardStoreOptions> = {}): Page {
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
  onTestFinished(stop);
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

const HEAD = { v: 2, asOf: 1, events: [], gaps: [], writer: "a", savedAt: 1 };
const live = ({ store }: Page): Promise<void> => until(() => store.getSnapshot().live);
const restored = ({ store }: Page): Promise<void> => until(() => store.getSnapshot().loaded);
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
    await restored(second);
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
    const third = open(server, storage);
    await restored(third);
    expect(third.store.getSnapshot().asOf).toBe(data.asOf);
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
    await restored(third);
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
    const second = open(server, storage);
    await restored(second);
    const events = second.store.getSnapshot().events;
    expect(events).toHaveLength(MAX_CACHED_EVENTS);
    expect(events[0]).toMatchObject({ position: MAX_CACHED_EVENTS + 30, timestamp: "2026-03-01T06:30:00.000Z" });
  });

  it.each([
    ["nothing", undefined],
    ["something else", new Map([["head", { v: 2 }]])],
    ["another version's", new Map([["head", { v: 3, asOf: 1, events: [], gaps: [], writer: "a", savedAt: 1 }]])],
    ["rows without a head", new Map([["cameras/north", []]])],
    [
      "a damaged row",
      new Map<string, unknown>([
        ["head", HEAD],
        ["cameras/north", [{ type: "dashboard_event" }]],
      ]),
    ],
  ])("requests the whole state if the storage holds %s", async (_what, rows) => {
    const server = await serve();
    const storage = memory();
    if (rows !== undefined) storage.scopes.set(SCOPE, rows);
    const page = open(server, storage);
    await live(page);
    expect((await server.connections[0]?.next("subscribe"))?.since).toBeUndefined();
    expect(page.problems.map(({ kind }) => kind)).toEqual(rows === undefined ? [] : ["storage"]);
  });

  it("works without a storage, and with a full storage", async () => {
    const server = await serve();
    const full: StateStorage = { ...memory(), update: () => Promise.reject(new Error("quota")) };
    const page = open(server, full);
    await live(page);
    server.publish({});
    await until(() => positions(page).length === 1);
    page.hide();
    page.hide();
    await until(() => page.problems.length > 0);
    page.hide();
    expect(page.problems).toEqual([
      { kind: "storage", message: "the state is no longer cached for reloads", detail: new Error("quota") },
    ]);
    await live(open(server, memory(), { storage: null }));
  });

  it("writes only the rows that have changed, and deletes those of removed cameras", async () => {
    const server = await serve();
    const storage = memory();
    const page = open(server, storage);
    await live(page);
    const about = (camera: string, data: unknown): DashboardEvent =>
      server.publish({ event: "camera.about", camera, topic: `cameras/${camera}/about`, data });
    for (let index = 0; index < 20; index++) about(`c${index}`, { model: "a" });
    await until(() => page.store.getSnapshot().cameras.size === 20);
    page.hide();
    await until(() => storage.lastWrite.length === 21);
    about("c7", { model: "b" });
    about("c9", null);
    await until(() => page.store.getSnapshot().cameras.size === 19);
    page.hide();
    await until(() => storage.writes === 2);
    expect(storage.lastWrite).toEqual(["cameras/c7", "cameras/c9", "head"]);
    expect(storage.scopes.get(SCOPE)?.size).toBe(20);
  });

  it("lets one of two pages write, and the other one take over after the first", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    const second = open(server, storage, { saveIntervalMs: 1 });
    await live(second);
    await until(() => storage.writes > 0);
    const { writer } = head(storage);
    presence(server, "online");
    await until(() => positions(first).length === 1 && positions(second).length === 1);
    await until(() => Object(head(storage).cursor).position === 1);
    const before = storage.writes;
    first.hide();
    await new Promise(setImmediate);
    expect(storage.writes).toBe(before);
    second.hide();
    await until(() => head(storage).savedAt === 0);
    expect(head(storage).writer).toBe(writer);
    first.hide();
    await until(() => head(storage).writer !== writer);
    expect(storage.lastWrite).toEqual(["cameras/north", "head"]);
    // The second page must not add its rows to those of the first page, which has another cursor.
    storage.scopes.get(SCOPE)?.set("head", { ...head(storage), savedAt: Date.now() });
    const taken = storage.writes;
    second.hide();
    await new Promise(setImmediate);
    expect(storage.writes).toBe(taken);
    storage.scopes.get(SCOPE)?.set("head", { ...head(storage), savedAt: Date.now() - 6_000 });
    second.hide();
    await until(() => head(storage).writer === writer);
  });

  it("finds nothing after the page has deleted its cache", async () => {
    const server = await serve();
    const storage = memory();
    const first = open(server, storage);
    await live(first);
    first.hide();
    expect(storage.scopes.size).toBe(1);
    await first.store.forget();
    first.leave();
    expect(storage.scopes.size).toBe(0);
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
    await until(() => Object(head(storage).cursor).position === 200);
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
