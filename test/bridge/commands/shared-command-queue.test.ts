import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, it, onTestFinished, vi } from "vitest";
import type { Documents } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { SharedCommandQueue } from "../../../bridge/commands/shared-command-queue.ts";

const logger = pino({ level: "silent" });
const COMMAND = { name: "capture.now", text: "{}", by: "user:alice", isMqtt: false };

/** Two nodes that share the documents of one store. A node is dead once `alive` does not have it. */
async function twoNodes() {
  const path = await mkdtemp(join(tmpdir(), "command-queue-"));
  const { documents, stop } = await openLocalCluster({ path, logger });
  const alive = new Set(["a", "b"]);
  const nodes = async () =>
    [...alive].map((id) => ({ id, startedAt: 0, lastSeenAt: 0, connections: 0, name: "", clockMs: 0 }));
  /** The commands of which node a has asked whether another node has taken them over. */
  const askedFor: string[] = [];
  const queueOf = (nodeId: "a" | "b") => {
    const shared: Pick<Documents, "get" | "put" | "delete" | "list" | "watch"> = {
      get(collection, key) {
        if (nodeId === "a" && collection === "taken-commands") askedFor.push(key);
        return documents.get(collection, key);
      },
      put: (...change) => documents.put(...change),
      delete: (...change) => documents.delete(...change),
      list: (collection) => documents.list(collection),
      watch: (...watching) => documents.watch(...watching),
    };
    const onNodes = (listener: (living: ReadonlySet<string>) => void) => {
      const timer = setInterval(() => listener(alive), 20);
      return () => clearInterval(timer);
    };
    const cluster = { documents: shared, nodeId, nodes, onNodes };
    return new SharedCommandQueue({ cluster, maxPerCamera: 10, checkIntervalMs: 20, logger });
  };
  const [a, b] = [queueOf("a"), queueOf("b")];
  onTestFinished(async () => {
    await Promise.all([a.stop(), b.stop()]);
    await stop();
    await rm(path, { recursive: true });
  });
  const enter = async (id: string) => {
    const onFirst = vi.fn();
    expect(await a.enter("north", id, COMMAND, Date.now() + 60_000, onFirst)).toBe(true);
    return onFirst;
  };
  return { b, alive, askedFor, documents, enter };
}

it("a node that was taken for dead does not queue its commands again once another node has carried them out", async () => {
  const { b, alive, askedFor, documents, enter } = await twoNodes();
  await enter("one");
  const second = await enter("two");
  alive.delete("a");
  const taken: string[] = [];
  b.takeOver(({ id }) => {
    taken.push(id);
    return () => {};
  });
  await vi.waitFor(() => expect(taken).toEqual(["one", "two"]));
  await b.leave("north", "one");
  await b.leave("north", "two");
  alive.add("a");
  await vi.waitFor(() => expect([...askedFor, ...second.mock.calls]).not.toHaveLength(0));
  const third = await enter("three");
  await vi.waitFor(() => expect(third).toHaveBeenCalledOnce());
  const { value } = (await documents.get("command-queues", "north")) ?? {};
  expect(value).toMatchObject([{ id: "three", node: "a" }]);
  expect(second).not.toHaveBeenCalled();
});

it("a node asks again for the places that the store has lost", async () => {
  const { documents, enter } = await twoNodes();
  await enter("one");
  const second = await enter("two");
  await documents.delete("command-queues", "north");
  await vi.waitFor(() => expect(second).toHaveBeenCalledOnce());
});
