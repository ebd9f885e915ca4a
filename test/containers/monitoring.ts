import { setTimeout as sleep } from "node:timers/promises";
import { PORTS } from "./installation.ts";

const PROMETHEUS = `http://127.0.0.1:${PORTS.PROMETHEUS_PORT}`;
/** Prometheus looks for nodes twice a minute and scrapes each every 15 s. */
const TIMEOUT_MS = 180_000;

/** Prometheus must scrape every node and Redis, and load the alert rules. @throws {Error} */
export async function demandMonitoring(nodes: number): Promise<string> {
  await becomes('count(up{job="skylapse"} == 1)', nodes);
  await becomes("max(redis_up)", 1);
  await becomes('count(skylapse_journal_append_seconds_count{job="skylapse"})', nodes);
  const { data } = await get("/api/v1/rules");
  const rules = data.groups?.flatMap((group) => group.rules) ?? [];
  const broken = rules.filter(({ health }) => health === "err");
  if (rules.length === 0 || broken.length > 0)
    throw new Error(`${rules.length} alert rules, broken: ${broken.map(({ name }) => name)}`);
  const grafana = await fetch(`http://127.0.0.1:${PORTS.GRAFANA_PORT}/api/health`);
  if (!grafana.ok) throw new Error(`the container of Grafana answers ${grafana.status}`);
  return `${nodes} nodes and Redis are scraped, ${rules.length} alert rules are evaluated`;
}

interface Answer {
  data: {
    result?: { value: [time: number, value: string] }[];
    groups?: { rules: { name: string; health: string }[] }[];
  };
}

async function get(path: string): Promise<Answer> {
  const response = await fetch(PROMETHEUS + path);
  if (!response.ok) throw new Error(`Prometheus answers ${response.status}: ${await response.text()}`);
  return (await response.json()) as Answer;
}

async function becomes(query: string, wanted: number): Promise<void> {
  const end = performance.now() + TIMEOUT_MS;
  for (;;) {
    const { data } = await get(`/api/v1/query?query=${encodeURIComponent(query)}`);
    const value = Number(data.result?.[0]?.value[1] ?? Number.NaN);
    if (value === wanted) return;
    if (performance.now() > end) throw new Error(`${query} is ${value} instead of ${wanted}`);
    await sleep(1000);
  }
}
