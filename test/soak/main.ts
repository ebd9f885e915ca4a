import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import Database from "libsql";
import { archiveFile } from "../../bridge/journal/archive/config.ts";
import { topicTree } from "../../contract/topics.ts";
import { EVENT_NAME, FIRST_NUMBER } from "../bench/load/event.ts";
import { publishPaced } from "../bench/load/feed.ts";
import { openMqttFeed } from "../bench/load/mqtt-feed.ts";
import { temporaryFolder } from "../bench/servers/leftovers.ts";
import { startSkylapse } from "../bench/servers/skylapse.ts";
import { Visitors } from "./visitors.ts";

const METRICS_TOKEN = "metrics-token-of-the-soak-test";
const SCRAPE_INTERVAL_MS = 15_000;

const USAGE = `Runs the server with its archive and metrics under an even load, and prints its memory every minute.

  npm run test:soak -- [options]
    --minutes n      default 30
    --events n       events a second, default 500
    --dashboards n   open at any moment, default 500; each stays for a minute on average
`;

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    events: { type: "string", default: "500" },
    dashboards: { type: "string", default: "500" },
    help: { type: "boolean", default: false },
  },
});

if (flags.help) process.stdout.write(USAGE);
else await soak(Number(flags.minutes), Number(flags.events), Number(flags.dashboards));

async function soak(minutes: number, perSecond: number, dashboards: number): Promise<void> {
  const folder = temporaryFolder();
  const server = await startSkylapse({ env: { DATA_PATH: folder.path, METRICS_TOKEN } });
  const archivedBehind = async () => Number(await metric(server.port, "skylapse_archive_behind_events"));
  const topic = topicTree().build({ kind: "camera-event", camera: "bench", event: EVENT_NAME });
  const feed = await openMqttFeed({ ...server.login("feed"), port: server.mqttPort, topic, qos: 1, payloadBytes: 400 });
  const visitors = new Visitors({ port: server.port, tokens: server.tokens(1000), atOnce: dashboards });
  const end = new AbortController();
  const failures: string[] = [];
  const scrape = async () => {
    while (!end.signal.aborted) {
      await archivedBehind();
      await sleep(SCRAPE_INTERVAL_MS, undefined, { signal: end.signal }).catch(() => undefined);
    }
  };
  const work = Promise.all([publishPaced(feed, perSecond, end.signal), visitors.run(end.signal), scrape()]).catch(
    (error: unknown) => {
      failures.push(error instanceof Error ? error.message : String(error));
    },
  );
  process.stdout.write("minute  RSS MB  used MB  events  dashboards so far  p99 ms  not archived\n");
  const used: number[] = [];
  for (let minute = 1; minute <= minutes && failures.length === 0; minute++) {
    await sleep(60_000);
    const memory = await server.memory();
    used.push(memory.used / 1e6);
    const figures = [
      minute,
      memory.rss / 1e6,
      memory.used / 1e6,
      feed.next - FIRST_NUMBER,
      visitors.opened,
      visitors.takeP99Ms(),
      await archivedBehind(),
    ];
    process.stdout.write(
      `${figures.map((figure, index) => figure.toFixed(index === 1 || index === 2 || index === 5 ? 1 : 0)).join("\t")}\n`,
    );
  }
  end.abort();
  await work;
  visitors.close();
  feed.close();
  while (failures.length === 0 && (await archivedBehind()) > 0) await sleep(100);
  await server.stop();
  const archived = archivedEvents(folder.path);
  const sent = feed.next - FIRST_NUMBER;
  process.stdout.write(`${sent} events sent, ${archived} in the archive\n`);
  if (archived !== sent) failures.push(`the archive has ${archived} of ${sent} events`);
  folder.remove();
  failures.push(...visitors.failures);
  for (const failure of failures.slice(0, 10)) process.stdout.write(`- ${failure}\n`);
  const half = used.slice(Math.floor(used.length / 2));
  process.stdout.write(`heap and buffers, second half: ${slope(half).toFixed(2)} MB a minute\n`);
  process.stdout.write(`${failures.length === 0 ? "1 passed, 0 failed" : "0 passed, 1 failed"}\n`);
  if (failures.length > 0) process.exitCode = 1;
}

/** @returns the value of one metric of the server */
async function metric(port: number, name: string): Promise<string | undefined> {
  const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`, { headers })).text();
  return new RegExp(`^${name}(?:{.*})? (.+)$`, "m").exec(text)?.[1];
}

function archivedEvents(dataPath: string): number {
  const database = new Database(archiveFile(dataPath), { readonly: true });
  const [count] = database.prepare("SELECT count(*) FROM archive_events WHERE event = ?").raw().get(EVENT_NAME) as [
    number,
  ];
  database.close();
  return count;
}

/** The slope of the least-squares line through equally spaced values. */
function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let above = 0;
  let below = 0;
  for (const [index, value] of values.entries()) {
    above += (index - middle) * (value - mean);
    below += (index - middle) ** 2;
  }
  return above / below;
}
