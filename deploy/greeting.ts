import type { Backend } from "./backend.ts";
import type { BackendConfig } from "./config/backend-config.ts";
import { version } from "./config/package.ts";
import { insecureSwitches } from "./config/warnings.ts";
import { describePlace, parseRedisUrl } from "./redis/redis-url.ts";

/** What `npm start` prints once the server is ready: addresses, location of the data, and warnings. */
export function greeting(config: BackendConfig, { addresses, cameras, firstTry, withoutAccounts }: Backend): string {
  const { bridge, simulator, store } = config;
  const pace = `(simulated, a picture every ${simulator.CAPTURE_INTERVAL_S} s)`;
  const lines: (readonly [label: string, text: string])[] = [
    ...addresses,
    ["Data", store.url === undefined ? `${bridge.dataPath} (LevelDB)` : redisLine(store.url, store.prefix)],
    ["Cameras", cameras.length > 0 ? `${cameras.join(", ")} ${pace}` : "none simulated"],
  ];
  const advice = "none, so nobody can log in to the dashboard: npx skylapse user add NAME --role admin adds one";
  if (withoutAccounts && !firstTry) lines.push(["Accounts", advice]);
  for (const warning of insecureSwitches(config, firstTry)) lines.push(["Warning", warning]);
  const width = Math.max(...lines.map(([label]) => label.length));
  const body = lines.map(([label, text]) => `  ${label.padEnd(width)}  ${text}\n`).join("");
  return `\nSkylapse Realtime ${version} is ready after ${process.uptime().toFixed(1)} s\n\n${body}\nPress Ctrl-C to stop it.\n`;
}

/** The address of Redis without its password. */
function redisLine(url: string, prefix: string): string {
  const place = parseRedisUrl(url);
  const where = `${place.kind === "single" ? "redis://" : ""}${describePlace(place)}`;
  return `${where} (Redis, prefix ${prefix})`;
}
