import { afterEach, expect, it } from "vitest";
import type { Leases } from "../../../bridge/cluster/cluster.ts";
import { LocalLeases } from "../../../bridge/cluster/local/in-memory.ts";
import { runAsSingleton, type Singleton } from "../../../bridge/cluster/singleton.ts";
import { logger } from "../cameras/alerts-place.ts";

const duties: Singleton[] = [];

afterEach(async () => {
  for (const duty of duties.splice(0)) await duty.stop();
});

/** A node that notes what it does. */
function node(leases: Leases, name: string, log: string[], begin = async (): Promise<void> => {}): Singleton {
  const duty = runAsSingleton({
    ...{ leases, name: "alerts", retryMs: 5, logger },
    begin: async () => {
      await begin();
      log.push(`${name} begins`);
      return { stop: async () => void log.push(`${name} ends`) };
    },
  });
  duties.push(duty);
  return duty;
}

const until = (holds: () => boolean) => expect.poll(holds, { interval: 2 }).toBe(true);

it("one node works, and another when that has ended", async () => {
  const leases = new LocalLeases();
  const log: string[] = [];
  const first = node(leases, "first", log);
  await until(() => log.length === 1);
  node(leases, "second", log);
  await first.stop();
  await until(() => log.length === 3);
  expect(log).toEqual(["first begins", "first ends", "second begins"]);
});

it("one that loses the lease ends its work, and takes it up again when it can", async () => {
  const log: string[] = [];
  const held: AbortController[] = [];
  const leases: Leases = {
    async acquire() {
      const lease = new AbortController();
      held.push(lease);
      return { lost: lease.signal, release: async () => void log.push("released") };
    },
  };
  node(leases, "first", log);
  await until(() => log.length === 1);
  held[0]?.abort();
  await until(() => log.length === 4);
  expect(log).toEqual(["first begins", "first ends", "released", "first begins"]);
});

it("work that cannot be begun is tried again, and does not keep the lease meanwhile", async () => {
  const leases = new LocalLeases();
  const log: string[] = [];
  let fails = 3;
  node(leases, "first", log, async () => {
    if (fails-- > 0) throw new Error("the store is away");
  });
  await until(() => log.length === 1);
  expect(fails).toBe(-1);
});

it("stop is idempotent, and ends one that never had the duty", async () => {
  const leases = new LocalLeases();
  const log: string[] = [];
  node(leases, "first", log);
  await until(() => log.length === 1);
  const second = node(leases, "second", log);
  await Promise.all([second.stop(), second.stop()]);
  expect(log).toEqual(["first begins"]);
});
