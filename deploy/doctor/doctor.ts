import { setTimeout as after } from "node:timers/promises";
import { ConfigurationError } from "../../platform/config.ts";
import { reasonOf } from "../../platform/error-reason.ts";
import { type BackendConfig, checkBackendConfig } from "../config/backend-config.ts";
import { neededNode, version } from "../config/package.ts";
import { insecureSwitches } from "../config/warnings.ts";
import { serverUrl } from "../operator/operator-api.ts";
import { type ProbeResult, probeServer, whyNoServer } from "../operator/server-probe.ts";
import { checkCertificate } from "./certificate.ts";
import { checkNotedDamage, checkStoreFiles } from "./damage.ts";
import { checkAuditLog, checkFolder, checkStoreLock } from "./data-path.ts";
import { checkKeySet, checkRedisStore } from "./external-services.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";
import { checkClock, checkNode, checkOpenFiles, openFileLimit } from "./machine.ts";
import { checkOutsideBroker } from "./outside-broker.ts";
import { checkPorts, type Port } from "./ports.ts";
import { checkServer } from "./server.ts";

/** Milliseconds for one check. A check that waits for another program has a shorter timeout with a better message. */
const CHECK_TIMEOUT_MS = 20_000;

export interface ExamineOptions {
  env: NodeJS.ProcessEnv;
  url: string;
  /** Whether the URL was set explicitly: a missing server is then an error. */
  isNamed: boolean;
  /** @throws {Error} there is no operator key */
  key: () => string;
}

type Check = () => Finding[] | Promise<Finding[]>;

/** Checks an installation without changing anything. */
export async function examine({ env, url, isNamed, key }: ExamineOptions): Promise<Finding[]> {
  const { config, findings } = readSettings(env);
  const answer = await probeServer(url);
  const now = Date.now;
  const checks: Record<string, Check> = {
    "Node.js": () => [checkNode(process.versions.node, neededNode, now())],
    clock: async () => [await checkClock(now())],
    settings: () => findings,
    ...(config === undefined ? {} : checksOf(config, { url, isNamed, answer })),
    server: async () =>
      answer.kind === "server" ? await checkServer({ url, version, key, now }) : [absence(answer, url, isNamed)],
  };
  const found = await Promise.all(Object.entries(checks).map(([subject, check]) => withTimeout(subject, check)));
  return found.flat();
}

function readSettings(env: NodeJS.ProcessEnv): { config?: Omit<BackendConfig, "secrets">; findings: Finding[] } {
  try {
    const config = checkBackendConfig(env);
    const switches = insecureSwitches(config).map((text) => warn("settings", text));
    return { config, findings: [ok("settings", "they are valid"), ...switches] };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const problems = error.problems.map((problem) => {
      const [, subject = "settings", text = problem] = /^([A-Z][A-Z0-9_]+): ([\s\S]+)$/.exec(problem) ?? [];
      return wrong(subject, text);
    });
    const more = warn("settings", "other checks depend on them: run this again once they are valid");
    return { findings: [...problems, more] };
  }
}

type Server = Pick<ExamineOptions, "url" | "isNamed"> & { answer: ProbeResult };

/** The checks that depend on the settings. */
function checksOf({ bridge, broker, store }: Omit<BackendConfig, "secrets">, server: Server): Record<string, Check> {
  const { url, isNamed, answer } = server;
  const { dataPath, host, jwks, outsideBroker } = bridge;
  const { tls } = broker;
  const redisUrl = store.url;
  const limit = openFileLimit();
  const mqttClients = outsideBroker === undefined ? broker.maxClients : 0;
  const here = serverUrl(host, bridge.port);
  const ports: Port[] = [["WS_PORT", bridge.port], ...(outsideBroker === undefined ? mqttPorts(broker) : [])];
  return {
    DATA_PATH: () => checkFolder(dataPath),
    damage: () => checkNotedDamage(dataPath),
    AUDIT_LOG: async () => [await checkAuditLog(bridge.auditLog)],
    ...(redisUrl === undefined
      ? {
          store: () => checkStoreLock({ dataPath, url, isNamed, alive: answer.kind === "server" }),
          stores: () => checkStoreFiles(dataPath),
        }
      : { REDIS_URL: () => checkRedisStore({ ...store, url: redisUrl }) }),
    ports: async () => {
      const { kind } = here === url ? answer : await probeServer(here);
      return await checkPorts(host, ports, kind === "server");
    },
    ...(limit === undefined
      ? {}
      : { "open files": () => [checkOpenFiles(limit, bridge.sockets.maxConnections, mqttClients)] }),
    ...(outsideBroker === undefined ? {} : { MQTT_URL: () => checkOutsideBroker(outsideBroker) }),
    ...(tls === undefined || outsideBroker !== undefined
      ? {}
      : { TLS_CERT: () => checkCertificate(tls, host, Date.now()) }),
    ...(jwks === undefined ? {} : { JWKS_URL: async () => [await checkKeySet(jwks.jwksUrl)] }),
  };
}

function mqttPorts({ mqttPort, webSocketPort, tls }: BackendConfig["broker"]): Port[] {
  return [
    ["MQTT_PORT", mqttPort],
    ["MQTT_WS_PORT", webSocketPort],
    ...(tls === undefined ? [] : [["MQTT_TLS_PORT", tls.port] as const]),
  ];
}

/** A missing server may not have been started yet, so it is only a warning unless its URL was set explicitly. */
function absence(answer: Exclude<ProbeResult, { kind: "server" }>, url: string, isNamed: boolean): Finding {
  const verdict = answer.kind === "nothing" && !isNamed ? warn : wrong;
  return verdict("server", whyNoServer(answer, url));
}

async function withTimeout(subject: string, check: Check): Promise<Finding[]> {
  const left = new AbortController();
  const text = `this check took longer than ${CHECK_TIMEOUT_MS / 1000} s: try again when this machine is less busy`;
  const late = after(CHECK_TIMEOUT_MS, [warn(subject, text)], { signal: left.signal }).catch(() => []);
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    return [wrong(subject, `this check failed (${reasonOf(error)})`)];
  } finally {
    left.abort();
  }
}
