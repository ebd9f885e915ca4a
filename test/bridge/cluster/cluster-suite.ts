import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Cluster, Json } from "../../../bridge/cluster/cluster.ts";
import { MAX_DOCUMENT_LENGTH, MAX_KEY_LENGTH, MAX_SIGNAL_LENGTH } from "../../../bridge/cluster/limits.ts";

/** The storage of a cluster, which can be closed and opened again. */
export interface ClusterPlace {
  /** Opens another node. With LevelDB the previous node must be stopped. */
  open(options?: { expiryNow?: () => number }): Promise<Cluster>;
  /** Stops all nodes and removes everything. */
  dispose(): Promise<void>;
}

/** The tests that every implementation of the cluster passes. */
export function describeCluster(name: string, createPlace: () => Promise<ClusterPlace>): void {
  describe(name, () => {
    let place: ClusterPlace;
    let cluster: Cluster;

    beforeEach(async () => {
      place = await createPlace();
      cluster = await place.open();
    });
    afterEach(() => place.dispose());

    describe("documents", () => {
      test("are read back unchanged, also after a restart", async () => {
        const value: Json = { name: "north", tags: ["a", "é\n\u0000"], nested: { none: null, number: 1.5, yes: true } };
        const version = await cluster.documents.put("devices", "north", value);
        expect(await cluster.documents.get("devices", "north")).toEqual({ value, version });
        await cluster.stop();
        cluster = await place.open();
        expect(await cluster.documents.get("devices", "north")).toEqual({ value, version });
        expect(await cluster.documents.get("devices", "south")).toBeUndefined();
      });

      test("may have any characters in their keys, and each document belongs to one collection", async () => {
        const keys = ["a", "a!b", 'a"b', "*", "ü/🏔", "__proto__", "constructor", "k".repeat(MAX_KEY_LENGTH)];
        for (const key of keys) await cluster.documents.put("devices", key, key);
        await cluster.documents.put("devices-2", "a", "other");
        expect(await cluster.documents.list("devices-2")).toMatchObject([{ key: "a", value: "other" }]);
        const listed = await cluster.documents.list("devices");
        expect(new Set(listed.map(({ key }) => key))).toEqual(new Set(keys));
        for (const { key, value, version } of listed) {
          expect(value).toBe(key);
          expect(await cluster.documents.get("devices", key)).toEqual({ value, version });
        }
        expect(await cluster.documents.list("nothing")).toEqual([]);
        for (const key of ["a-1", "a-2", "ab-1", "*", "*-1"]) await cluster.documents.put("prefixed", key, key);
        const below = async (prefix: string) =>
          (await cluster.documents.list("prefixed", prefix)).map(({ key }) => key).sort();
        expect(await below("a-")).toEqual(["a-1", "a-2"]);
        expect(await below("*")).toEqual(["*", "*-1"]);
        expect(await below("b")).toEqual([]);
      });

      test("are written only if the given version is the stored version", async () => {
        const { documents } = cluster;
        const first = await documents.put("devices", "north", 1, { ifVersion: null });
        expect(first).toEqual(expect.any(String));
        expect(await documents.put("devices", "north", 2, { ifVersion: null })).toBeUndefined();
        expect(await documents.put("devices", "south", 2, { ifVersion: first ?? "" })).toBeUndefined();
        const second = await documents.put("devices", "north", 2, { ifVersion: first ?? "" });
        expect(second).not.toBe(first);
        expect(await documents.put("devices", "north", 3, { ifVersion: first ?? "" })).toBeUndefined();
        expect(await documents.get("devices", "north")).toEqual({ value: 2, version: second });
        const third = await documents.put("devices", "north", 3);
        expect(await documents.delete("devices", "north", { ifVersion: second ?? "" })).toBe(false);
        expect(await documents.delete("devices", "north", { ifVersion: third ?? "" })).toBe(true);
        expect(await documents.delete("devices", "north")).toBe(false);
        expect(await documents.get("devices", "north")).toBeUndefined();
      });

      test("are written by only one of several concurrent writers, and no increment is lost", async () => {
        const { documents } = cluster;
        await documents.put("counts", "x", 0);
        const addOne = async () => {
          for (;;) {
            const found = await documents.get("counts", "x");
            const next = Number(found?.value) + 1;
            if ((await documents.put("counts", "x", next, { ifVersion: found?.version ?? null })) !== undefined) return;
          }
        };
        await Promise.all(Array.from({ length: 20 }, addOne));
        expect((await documents.get("counts", "x"))?.value).toBe(20);
      });

      test("are deleted when they expire", async () => {
        let now = Date.now();
        await cluster.stop();
        cluster = await place.open({ expiryNow: () => now });
        const { documents } = cluster;
        const expiresAt = now + 150;
        const version = await documents.put("revocations", "brief", true, { expiresAt });
        await documents.put("revocations", "kept", true);
        expect(await documents.get("revocations", "brief")).toEqual({ value: true, version });
        now = expiresAt - 1;
        expect(await documents.get("revocations", "brief")).toBeDefined();
        now = expiresAt;
        expect(await documents.get("revocations", "brief")).toBeUndefined();
        expect((await documents.list("revocations")).map(({ key }) => key)).toEqual(["kept"]);
        expect(await documents.delete("revocations", "brief")).toBe(false);
        expect(await documents.put("revocations", "brief", 2, { ifVersion: version ?? "" })).toBeUndefined();
        expect(await documents.put("revocations", "brief", 2, { ifVersion: null })).toEqual(expect.any(String));
        expect((await documents.get("revocations", "brief"))?.value).toBe(2);
      });

      test("that are overwritten do not expire at the old time", async () => {
        const { documents } = cluster;
        const expiresAt = Date.now() + 100;
        await documents.put("revocations", "alice", 1, { expiresAt });
        await documents.put("revocations", "alice", 2);
        await vi.waitUntil(() => Date.now() > expiresAt + 50);
        expect((await documents.get("revocations", "alice"))?.value).toBe(2);
      });

      test("are watched by collection, with the key of each change", async () => {
        const changes: (string | undefined)[] = [];
        const unwatch = cluster.documents.watch("devices", (key) => changes.push(key));
        await cluster.documents.put("other", "x", 1);
        await cluster.documents.put("devices", "north", 1);
        await cluster.documents.delete("devices", "north");
        await cluster.documents.delete("devices", "north");
        await cluster.documents.put("devices", "north", 1, { ifVersion: "none" });
        await cluster.documents.put("devices", "south", 1);
        await vi.waitFor(() => expect(changes).toEqual(["north", "north", "south"]));
        unwatch();
        const end = vi.fn();
        cluster.documents.watch("devices", end);
        await cluster.documents.put("devices", "east", 1);
        await vi.waitFor(() => expect(end).toHaveBeenCalledWith("east"));
        expect(changes).toHaveLength(3);
      });

      test("reject names and sizes beyond the limits, with the limit in the error", async () => {
        const { documents } = cluster;
        await expect(documents.put("No name", "x", 1)).rejects.toThrow('"No name" is not a name of a collection');
        await expect(documents.get("devices", "")).rejects.toThrow("1 to 512 characters, not 0");
        await expect(documents.delete("devices", "k".repeat(513))).rejects.toThrow("1 to 512 characters, not 513");
        const large = "x".repeat(MAX_DOCUMENT_LENGTH);
        await expect(documents.put("devices", "x", large)).rejects.toThrow("at most 262144 characters");
        expect(await documents.list("devices")).toEqual([]);
      });

      test("keep the given value when the caller changes its object afterwards", async () => {
        const value = { list: [1] };
        const writing = cluster.documents.put("devices", "x", value);
        value.list.push(2);
        await writing;
        expect((await cluster.documents.get("devices", "x"))?.value).toEqual({ list: [1] });
      });
    });

    describe("signals", () => {
      test("reach the listeners of their name at their own node, in order", async () => {
        const heard: [Json, string][] = [];
        cluster.signals.on("revoked", (message, from) => heard.push([message, from]));
        cluster.signals.on("other", () => heard.push(["other", ""]));
        for (let index = 0; index < 50; index++) cluster.signals.send("revoked", { index });
        expect(heard).toEqual([]);
        await vi.waitFor(() => expect(heard).toHaveLength(50));
        expect(heard).toEqual(Array.from({ length: 50 }, (_, index) => [{ index }, cluster.nodeId]));
      });

      test("reach the other listeners when one listener throws, and do not reach a removed listener", async () => {
        const [ended, heard] = [vi.fn(), vi.fn()];
        cluster.signals.on("revoked", () => {
          throw new Error("an error of the listener");
        });
        cluster.signals.on("revoked", ended)();
        cluster.signals.on("revoked", heard);
        cluster.signals.send("revoked", null);
        await vi.waitFor(() => expect(heard).toHaveBeenCalledWith(null, cluster.nodeId));
        expect(ended).not.toHaveBeenCalled();
      });
    });

    test("a signal may be as large as the limit, but not larger", async () => {
      const heard = vi.fn();
      cluster.signals.on("large", heard);
      const largest = "x".repeat(MAX_SIGNAL_LENGTH - 2);
      expect(() => cluster.signals.send("large", `${largest}x`)).toThrow("at most 1048576 characters");
      cluster.signals.send("large", largest);
      await vi.waitFor(() => expect(heard).toHaveBeenCalledExactlyOnceWith(largest, cluster.nodeId));
    });

    describe("leases", () => {
      test("have one holder at a time", async () => {
        const lease = await cluster.leases.acquire("trim");
        expect(lease?.lost.aborted).toBe(false);
        expect(await cluster.leases.acquire("trim")).toBeUndefined();
        expect(await cluster.leases.acquire("other")).toBeDefined();
        await lease?.release();
        const next = await cluster.leases.acquire("trim");
        expect(next).toBeDefined();
        await lease?.release();
        expect(await cluster.leases.acquire("trim")).toBeUndefined();
        expect(next?.lost.aborted).toBe(false);
      });

      test("are lost when their node stops", async () => {
        const lease = await cluster.leases.acquire("trim");
        await cluster.stop();
        expect(lease?.lost.aborted).toBe(true);
        await lease?.release();
        cluster = await place.open();
        expect(await cluster.leases.acquire("trim")).toBeDefined();
      });
    });

    describe("the register of connections", () => {
      test("admits connections of each user up to the limit, and releases a connection only once", async () => {
        const { connections } = cluster;
        const leave = await connections.enter("alice", "1", 2);
        expect(await connections.enter("alice", "2", 2)).toBeDefined();
        expect(await connections.enter("alice", "3", 2)).toBeUndefined();
        expect(await connections.enter("bob", "4", 2)).toBeDefined();
        expect(await connections.total()).toBe(3);
        leave?.();
        leave?.();
        await vi.waitFor(async () => expect(await connections.total()).toBe(2));
        expect(await connections.enter("alice", "5", 2)).toBeDefined();
        expect(await connections.enter("alice", "6", 2)).toBeUndefined();
      });

      test("keeps to the limit when connections are opened concurrently", async () => {
        const entered = await Promise.all(
          Array.from({ length: 20 }, (_, index) => cluster.connections.enter("alice", String(index), 5)),
        );
        expect(entered.filter((leave) => leave !== undefined)).toHaveLength(5);
      });

      test("treats 0 as no limit", async () => {
        for (let index = 0; index < 30; index++)
          expect(await cluster.connections.enter("alice", String(index), 0)).toBeDefined();
        expect(await cluster.connections.total()).toBe(30);
      });
    });

    test("a node lists itself among the nodes", async () => {
      await cluster.connections.enter("alice", "1", 5);
      await vi.waitFor(async () => {
        const nodes = await cluster.nodes();
        expect(nodes).toMatchObject([
          { id: cluster.nodeId, startedAt: expect.any(Number), lastSeenAt: expect.any(Number), connections: 1 },
        ]);
        expect(Math.abs((nodes[0]?.lastSeenAt ?? 0) - Date.now())).toBeLessThan(30_000);
      });
      expect(cluster.unavailableReason).toBeUndefined();
    });

    test("stop is idempotent", async () => {
      await Promise.all([cluster.stop(), cluster.stop()]);
      await cluster.stop();
      await expect(cluster.documents.put("devices", "x", 1)).rejects.toThrow();
    });
  });
}
