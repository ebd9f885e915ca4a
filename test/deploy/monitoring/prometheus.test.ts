import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { freePort } from "../../support/ports.ts";
import { type Skylapse, startSkylapse } from "../../support/skylapse.ts";

const MONITORING = fileURLToPath(new URL("../../../deploy/monitoring/", import.meta.url));
const METRICS_TOKEN = "token-of-prometheus";

const folder = mkdtempSync(join(tmpdir(), "prometheus-"));
let server: Skylapse;
let prometheus: ChildProcess;
let url: string;

beforeAll(async () => {
  server = await startSkylapse({ env: { METRICS_TOKEN, SIMULATOR: "1" } });
  // The shipped configuration, with this server as its target.
  const config = parse(readFileSync(join(MONITORING, "prometheus.yml"), "utf8"));
  const [job] = config.scrape_configs;
  writeFileSync(join(folder, "token"), METRICS_TOKEN);
  config.global = { scrape_interval: "1s", evaluation_interval: "1s" };
  config.rule_files = [join(MONITORING, "alerts.yml")];
  config.scrape_configs = [
    {
      job_name: job.job_name,
      static_configs: [{ targets: [server.http.replace("http://", "")] }],
      authorization: { credentials_file: join(folder, "token") },
    },
  ];
  const file = join(folder, "prometheus.yml");
  // JSON is YAML.
  writeFileSync(file, JSON.stringify(config));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const options = [`--config.file=${file}`, `--storage.tsdb.path=${join(folder, "data")}`];
  prometheus = spawn("prometheus", [...options, `--web.listen-address=127.0.0.1:${port}`], { stdio: "ignore" });
});

afterAll(async () => {
  const ended = once(prometheus, "exit");
  prometheus.kill("SIGKILL");
  await Promise.all([ended, server.end()]);
  rmSync(folder, { recursive: true, force: true });
});

/** The value of a query; undefined while there is none. */
async function query(text: string): Promise<string | undefined> {
  const answer = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query: text })}`).catch(() => undefined);
  if (answer?.ok !== true) return undefined;
  const { data } = await answer.json();
  return data.result[0]?.value[1];
}

function metricsIn(expression: string): string[] {
  return expression.match(/\b(?:skylapse|nodejs|process)_\w+/g) ?? [];
}

describe("Prometheus", () => {
  it("scrapes a server", async () => {
    await expect.poll(() => query("skylapse_ready"), { interval: 200 }).toBe("1");
    await expect.poll(() => query("skylapse_events_accepted_total > 0"), { interval: 200 }).toBeDefined();
    expect(await query('up{job="skylapse"}')).toBe("1");
  });

  it("evaluates the shipped rules without an error", async () => {
    const rules = async () => {
      const answer = await fetch(`${url}/api/v1/rules`);
      const { data } = await answer.json();
      return data.groups[0].rules.map(({ health }: { health: string }) => health);
    };
    await expect.poll(rules, { interval: 200 }).not.toContain("unknown");
    expect(new Set(await rules())).toEqual(new Set(["ok"]));
  });
});

it("each alert fires when its condition holds, and only then", () => {
  const test = join(MONITORING, "alerts.test.yml");
  expect(execFileSync("promtool", ["test", "rules", test], { encoding: "utf8" })).toContain("SUCCESS");
  const alerts = parse(readFileSync(join(MONITORING, "alerts.yml"), "utf8")).groups[0].rules;
  for (const { alert } of alerts) expect(readFileSync(test, "utf8")).toContain(`alertname: ${alert}\n`);
});

it("rules and the Grafana board use only metrics that the server has", async () => {
  const text = await (
    await fetch(`${server.http}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
  ).text();
  const known = new Set(
    [...text.matchAll(/^# TYPE (\w+) (\w+)/gm)].flatMap(([, name, type]) =>
      type === "histogram" ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [String(name)],
    ),
  );
  const rules = parse(readFileSync(join(MONITORING, "alerts.yml"), "utf8")).groups[0].rules;
  const board = JSON.parse(readFileSync(join(MONITORING, "grafana/dashboards/skylapse.json"), "utf8"));
  const expressions: string[] = [
    ...rules.map(({ expr }: { expr: string }) => expr),
    ...board.templating.list.map((variable: { query: { query: string } }) => variable.query.query),
    ...board.panels.flatMap(({ targets = [] }: { targets?: { expr: string }[] }) => targets.map(({ expr }) => expr)),
  ];
  expect(expressions.length).toBeGreaterThan(20);
  expect(expressions.flatMap(metricsIn).filter((name) => !known.has(name))).toEqual([]);
});
