import { afterEach, expect, it } from "vitest";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { type Failover, tryFailover } from "./failover-trial.ts";

const TIMES = LONG ? 6 : 1;
/** A master that no replica follows acknowledges nothing. */
const WITH_REPLICA = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const FROZEN: Failover = { kind: "Sentinel", signal: "SIGSTOP", settings: [], isCut: false };
const ALL: readonly Failover[] = (["Sentinel", "Cluster"] as const).flatMap((kind) =>
  (["SIGSTOP", "SIGKILL"] as const).flatMap((signal) =>
    [[], WITH_REPLICA].map((settings) => ({ kind, signal, settings, isCut: false })),
  ),
);
const PLANS = (LONG ? ALL : [FROZEN]).map(
  (failover) => [failover.kind, failover.signal, failover.settings.join(" ") || "no settings", failover] as const,
);

it.each(PLANS)(
  "delivers once and in order everything that the new master has when the old one gets %s: %s with %s",
  { timeout: TIMEOUT_MS, repeats: TIMES - 1 },
  async (...[, , , failover]) => {
    const outcome = await tryFailover(failover, (cleanUp) => cleanUps.push(cleanUp));
    const { acknowledged, lost, receivers } = outcome;
    process.stdout.write(`${failover.kind} ${failover.signal}: ${acknowledged} acknowledged, ${lost} lost\n`);
    for (const receiver of receivers) expect(receiver).toMatchObject({ missing: 0, twice: 0, outOfOrder: 0 });
    if (failover.signal === "SIGSTOP") expect(lost).toBe(0);
  },
);
