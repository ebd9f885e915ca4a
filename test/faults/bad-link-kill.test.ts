import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { z } from "zod";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { BadLink } from "../support/bad-link.ts";
import { bundled } from "../support/bundled.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const PROGRAM = bundled("test/support/sender-program.js");
/** Runs of the short form. `npm run test:long` does all runs. */
const RUNS = LONG ? 40 : 5;
const PER_RUN = 150;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const saidSchema = z.object({ run: z.string(), n: z.number() });

it(`delivers each event of a camera once, despite ${RUNS} times kill -9 on a link that is cut`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const secret = await addCamera(dataPath, "north");
  const skylapse = await startSkylapse({
    dataPath,
    env: { JWT_SECRET, LOG_LEVEL: "warn", RETENTION_EVENTS: "100000" },
  });
  cleanUps.push(() => skylapse.end());
  const link = await BadLink.open(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => link.close());
  const dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read"]));
  cleanUps.push(() => dashboard.close());
  const path = mkdtempSync(join(tmpdir(), "skylapse-kill-"));
  cleanUps.push(() => rmSync(path, { recursive: true, force: true }));

  /** The last stored sequence number that each run reported. */
  const kept = new Map<string, number>();
  const start = (run: string, count: number) => {
    const args = [`mqtt://127.0.0.1:${link.port}`, secret, join(path, "outbox"), run, String(count)];
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    cleanUps.push(() => child.kill("SIGKILL"));
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      // The last line may be incomplete.
      for (const [, n] of text.matchAll(/(\d+)\n/g)) kept.set(run, Math.max(kept.get(run) ?? 0, Number(n)));
    });
    return child;
  };
  for (let run = 1; run <= RUNS; run++) {
    const name = `run-${run}`;
    const child = start(name, 10_000);
    if (run % 2 === 0) link.cutAfter(1 + Math.floor(Math.random() * 20_000));
    const enough = Math.floor(PER_RUN * (0.5 + Math.random()));
    await expect.poll(() => kept.get(name) ?? 0, { interval: 5 }).toBeGreaterThan(enough);
    child.kill("SIGKILL");
    await once(child, "close");
  }
  // A last run sends the remaining events of the earlier runs.
  start("last", 0);
  const said = (run: string): number[] =>
    dashboard.messages
      .filter(
        (message): message is DashboardEvent => message.type === "dashboard_event" && message.event === "test.said",
      )
      .map(({ data }) => saidSchema.parse(data))
      .filter((data) => data.run === run)
      .map(({ n }) => n);
  for (const [run, least] of kept) {
    await expect.poll(() => said(run).length).toBeGreaterThanOrEqual(least);
    const numbers = said(run);
    // All stored events arrive once. Events before a kill and events after the kill are two streams, each in order.
    expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from(numbers, (_, index) => index + 1));
  }
});
