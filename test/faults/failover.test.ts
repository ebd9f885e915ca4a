import { afterEach, expect, it } from "vitest";
import { checkServer } from "../../deploy/doctor/server.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { type Failover, OPERATOR_KEY, tryFailover } from "./failover-trial.ts";

const TIMES = LONG ? 6 : 1;
/** A master that no replica follows acknowledges nothing. */
const WITH_REPLICA = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const ALL: readonly Failover[] = (["Sentinel", "Cluster"] as const).flatMap((kind) =>
  (["SIGSTOP", "SIGKILL"] as const).flatMap((signal) => [
    { kind, signal, settings: [], isCut: false },
    { kind, signal, settings: WITH_REPLICA, isCut: false },
    { kind, signal, settings: [], waitReplicas: 1, isCut: false },
    { kind, signal, settings: [], isCut: true },
  ]),
);
const SHORT: readonly Failover[] = [{ kind: "Sentinel", signal: "SIGSTOP", settings: [], isCut: true }];
const PLANS = (LONG ? ALL : SHORT).map(
  (failover) => [failover.kind, failover.signal, describeReplication(failover), failover] as const,
);

it.each(PLANS)(
  "with %s and %s of the master, %s, everybody gets once and in order what the new master has, and the rest is reported",
  { timeout: TIMEOUT_MS, repeats: TIMES - 1 },
  async (kind, signal, replication, failover) => {
    const outcome = await tryFailover(failover, (cleanUp) => cleanUps.push(cleanUp));
    const { acknowledged, lost, told, receivers, gaps, nodes } = outcome;
    const counts = `${acknowledged} acknowledged, ${lost} lost, ${told} reported`;
    process.stdout.write(`${kind} ${signal}, ${replication}: ${counts}\n`);
    for (const receiver of receivers) expect(receiver).toMatchObject({ missing: 0, twice: 0, outOfOrder: 0 });
    if (failover.waitReplicas !== undefined) expect(lost).toBe(0);
    expect(told).toBeGreaterThanOrEqual(lost);
    if (told === 0) {
      expect(gaps()).toEqual(nodes.map(() => []));
      return;
    }
    // A node that did not read the lost events may have written alone to the new master until the other one came there.
    await expect.poll(gaps).toMatchObject(nodes.map(() => [{ reason: "epoch_changed" }]));
    const findings = await Promise.all(nodes.map(({ http: url }) => checkServer({ url, ...OPERATOR })));
    expect(findings.flat().filter(({ subject }) => subject === "lost events").length).toBeGreaterThan(0);
  },
);

const OPERATOR = { version: "", key: () => OPERATOR_KEY, now: Date.now };

function describeReplication({ settings, waitReplicas = 0, isCut }: Failover): string {
  if (isCut) return "while nothing is replicated";
  if (waitReplicas > 0) return `with REDIS_WAIT_REPLICAS=${waitReplicas}`;
  return settings.length === 0 ? "with default settings" : "with min-replicas-to-write";
}
