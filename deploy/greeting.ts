import { describePlace, parseRedisUrl } from "../platform/redis/redis-url.ts";
import type { Backend } from "./backend.ts";
import type { BackendConfig } from "./config/backend-config.ts";
import { version } from "./config/package.ts";
import { insecureSwitches } from "./config/warnings.ts";

/** What `npm start` prints once the server is ready. */
interface Greeting {
  /** Seconds. */
  startTime: number;
  addresses: Backend["addresses"];
  data: string;
  cameras: string;
  /** What the operator should change. */
  warnings: readonly string[];
}

function greetingOf(config: BackendConfig, { http, addresses, cameras, firstTry, setupCode }: Backend): Greeting {
  const { bridge, simulator, store } = config;
  const noAdmin = `there is no admin: open ${http}/ and enter the set-up code ${setupCode}, or run npx skylapse user add NAME --role admin`;
  return {
    startTime: Math.round(process.uptime() * 10) / 10,
    addresses,
    data: store.url === undefined ? `${bridge.dataPath} (LevelDB)` : redisLine(store.url, store.prefix),
    cameras:
      cameras.length > 0
        ? `${cameras.join(", ")} (simulated, a picture every ${simulator.CAPTURE_INTERVAL_S} s)`
        : "none simulated",
    warnings: [...(setupCode !== undefined && !firstTry ? [noAdmin] : []), ...insecureSwitches(config, firstTry)],
  };
}

/** The greeting for people. */
export function greetingText(config: BackendConfig, backend: Backend): string {
  const { startTime, addresses, data, cameras, warnings } = greetingOf(config, backend);
  const lines: (readonly [label: string, text: string])[] = [
    ...addresses,
    ["Data", data],
    ["Cameras", cameras],
    ...warnings.map((warning) => ["Warning", warning] as const),
  ];
  const width = Math.max(...lines.map(([label]) => label.length));
  const body = lines.map(([label, text]) => `  ${label.padEnd(width)}  ${text}\n`).join("");
  return `\nSkylapse Realtime ${version} is ready after ${startTime.toFixed(1)} s\n\n${body}\nPress Ctrl-C to stop it.\n`;
}

/** The greeting for programs: one line of JSON, with the fields of a log line. */
export function greetingJson(config: BackendConfig, backend: Backend): string {
  const { startTime, addresses, data, cameras, warnings } = greetingOf(config, backend);
  return `${JSON.stringify({
    level: "info",
    time: new Date().toISOString(),
    version,
    startSeconds: startTime,
    addresses: Object.fromEntries(addresses),
    data,
    cameras,
    warnings,
    msg: "ready",
  })}\n`;
}

/** The address of Redis without its password. */
function redisLine(url: string, prefix: string): string {
  const place = parseRedisUrl(url);
  const where = `${place.kind === "single" ? "redis://" : ""}${describePlace(place)}`;
  return `${where} (Redis, prefix ${prefix})`;
}
