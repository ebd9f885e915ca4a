import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { ROOT } from "../../house/source-files.ts";
import { JWT_SECRET, signToken } from "../../support/dashboard.ts";
import { PYTHON } from "../../support/programs.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../../support/skylapse.ts";

const lineSchema = z.object({ event: z.string().optional(), data: z.unknown(), gap: z.unknown().optional() });
const countedSchema = z.object({ n: z.number() });

interface Follower {
  /** The numbers of the printed events. */
  numbers: number[];
  gaps: unknown[];
  /** Resolves when the program has printed the event with this number. */
  until(n: number): Promise<void>;
  /** Resolves when the program has reported that it waits for its next attempt. */
  disconnected: Promise<void>;
  end(): Promise<void>;
}

function follow(url: string, file: string, token: string): Follower {
  const program = join(ROOT, "deploy/examples/python/follow.py");
  const child = spawn(PYTHON, [program, url, "dashboard", file], {
    env: { SKYLAPSE_TOKEN: token, PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = once(child, "close");
  const numbers: number[] = [];
  const gaps: unknown[] = [];
  const watchers = new Set<() => void>();
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const { event, data, gap } of lines.map((line) => lineSchema.parse(JSON.parse(line)))) {
      if (event === "counted") numbers.push(countedSchema.parse(data).n);
      if (gap !== undefined) gaps.push(gap);
    }
    for (const watch of [...watchers]) watch();
  });
  let errors = "";
  const disconnected = new Promise<void>((resolve) => {
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      errors += chunk;
      if (errors.includes("next attempt")) resolve();
    });
  });
  const until = (n: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const watch = (): void => {
        if (!numbers.includes(n)) return;
        watchers.delete(watch);
        resolve();
      };
      watchers.add(watch);
      void closed.then(() => reject(new Error(`follow.py ended: ${errors}`)));
      watch();
    });
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await closed;
  };
  return { numbers, gaps, until, disconnected, end };
}

async function publish(server: Skylapse, token: string, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) {
    const message = { type: "dashboard_event", event: "counted", data: { n }, timestamp: new Date().toISOString() };
    const body = JSON.stringify({ channel: "dashboard", message });
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(`${server.http}/broadcast`, { method: "POST", headers, body });
    expect(response.status).toBe(200);
  }
}

it("prints every event once and in order across a restart of the server and of the program", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const token = signToken("reader", ["dashboard:read", "broadcast:write"]);
  const first = await startSkylapse({ dataPath, env: { JWT_SECRET } });
  onTestFinished(async () => void (await first.end("SIGKILL")));
  const file = join(dataPath, "position.json");
  const follower = follow(first.socket, file, token);
  onTestFinished(() => follower.end());
  // The state of the channel arrives first: the program is subscribed when it prints an event of its own time.
  const started = Date.now();
  let sent = 0;
  while (follower.numbers.length === 0 && Date.now() - started < 60_000) await publish(first, token, ++sent, sent);
  await publish(first, token, sent + 1, sent + 5);
  await follower.until(sent + 5);
  await first.end("SIGKILL");
  await follower.disconnected;
  const second = await startSkylapse({ dataPath, env: { JWT_SECRET, WS_PORT: new URL(first.http).port } });
  onTestFinished(async () => void (await second.end("SIGKILL")));
  await publish(second, token, sent + 6, sent + 20);
  await follower.until(sent + 20);
  await follower.end();
  await publish(second, token, sent + 21, sent + 30);
  const later = follow(second.socket, file, token);
  onTestFinished(() => later.end());
  await later.until(sent + 30);
  expect([...follower.gaps, ...later.gaps]).toEqual([]);
  const [begin = 0] = follower.numbers;
  const all = Array.from({ length: sent + 30 - begin + 1 }, (_, index) => begin + index);
  expect([...new Set([...follower.numbers, ...later.numbers])]).toEqual(all);
  expect(follower.numbers).toEqual(all.slice(0, follower.numbers.length));
});
