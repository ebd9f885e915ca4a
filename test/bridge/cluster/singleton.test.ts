import { afterEach, expect, it } from "vitest";
import type { Leases } from "../../../bridge/cluster/cluster.ts";
import { LocalLeases } from "../../../bridge/cluster/local/in-memory.ts";
import { runAsSingleton, type Singleton } from "../../../bridge/cluster/singleton.ts";
import { logger } from "../cameras/watcher-fixture.ts";

const singletons: Singleton[] = [];

afterEach(async () => {
  for (const singleton of singletons.splice(0)) await singleton.stop();
});

/** A node that logs its actions. */
function node(leases: Leases, name: string, log: string[], begin = async (): Promise<void> => {}): Singleton {
  const singleton = runAsSingleton({
    ...{ leases, name: "alerts", retryMs: 5, logger },
    begin: async () => {
      await begin();
      log.push(`${name} begins`);
      return { stop: async () => void log.push(`${name} ends`) };
    },
  });
  singletons.push(singleton);
  return singleton;
}

const until = (holds: () => boolean) => expect.poll(holds, { interval: 2 }).toBe(true);

it("one node runs the task, and another node runs it after the first has stopped", async () => {
  const leases = new LocalLeases();
  const log: string[] = [];
  const first = node(leases, "first", log);
  await until(() => log.length === 1);
  node(leases, "second", log);
  await first.stop();
  await until(() => log.length === 3);
  expect(log).toEqual(["first begins", "first ends", "second begins"]);
});

it("a node that loses the lease stops the task, and starts the task again when it acquires the lease", async () => {
  const log: string[] = [];
  const held: AbortController[] = [];
  const leases: Leases = {
    async acquire() {
      const lease = new AbortController();
      held.push(lease);
      return {
        ...{ fence: { lease: "alerts", number: held.length }, lost: lease.signal, lose: () => lease.abort() },
        release: async () => void log.push("released"),
      };
    },
  };
  node(leases, "first", log);
  await until(() => log.length === 1);
  held[0]?.abort();
  await until(() => log.length === 4);
  expect(log).toEqual(["first begins", "first ends", "released", "first begins"]);
});

it("a task that fails to start is retried, and the lease is released meanwhile", async () => {
  const leases = new LocalLeases();
  const log: string[] = [];
  let fails = 3;
  node(leases, "first", log, async () => {
    if (fails-- > 0) throw new Error("the store is unavailable");
  });
  await until(() => log.length === 1);
  expect(fails).toBe(-1);
});

it("stop is idempotent, and also works on a node without the lease", async () => {
  const leases = new LocalLeases();
  const log: string[] = [];
  node(leases, "first", log);
  await until(() => log.length === 1);
  const second = node(leases, "second", log);
  await Promise.all([second.stop(), second.stop()]);
  expect(log).toEqual(["first begins"]);
});
