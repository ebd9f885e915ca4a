import { setTimeout as after } from "node:timers/promises";
import { ConfigurationError } from "../../platform/config.ts";
import { type BackendConfig, checkBackendConfig } from "../config/backend-config.ts";
import { neededNode, version } from "../config/package.ts";
import { insecureSwitches } from "../config/warnings.ts";
import { reasonOf } from "../operator/error-reason.ts";
import { serverUrl } from "../operator/operator-api.ts";
import { type Answer, absenceOf, whoAnswers } from "../operator/who-answers.ts";
import { checkCertificate } from "./certificate.ts";
import { checkNotedDamage, checkStoreFiles } from "./damage.ts";
import { checkAuditLog, checkFolder, checkStoreLock } from "./data-path.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";
import { checkClock, checkNode, checkOpenFiles, openFileLimit } from "./machine.ts";
import { checkKeySet, checkRedisStore } from "./outside.ts";
import { checkPorts, type Port } from "./ports.ts";
import { checkServer } from "./server.ts";

/** How long one check may take. Those that wait for others give up sooner, and know more then. */
const CHECK_TIMEOUT_MS = 20_000;

export interface ExamineOptions {
  env: NodeJS.ProcessEnv;
  /** Where the server is. */
  url: string;
  /** Somebody says that there is one. */
  isNamed: boolean;
  /** The operator key. @throws {Error} there is none */
  key: () => string;
}

type Check = () => Finding[] | Promise<Finding[]>;

/** Looks at everything that commonly is wrong with an installation, all at once; changes nothing. */
export async function examine({ env, url, isNamed, key }: ExamineOptions): Promise<Finding[]> {
  const { config, findings } = readSettings(env);
  const answer = await whoAnswers(url);
  const now = Date.now;
  const checks: Record<string, Check> = {
    "Node.js": () => [checkNode(process.versions.node, neededNode)],
    clock: async () => [await checkClock(now())],
    settings: () => findings,
    ...(config === undefined ? {} : checksOf(config, { url, isNamed, answer })),
    server: async () =>
      answer.kind === "server" ? await checkServer({ url, version, key, now }) : [absence(answer, url, isNamed)],
  };
  const found = await Promise.all(Object.entries(checks).map(([subject, check]) => inTime(subject, check)));
  return found.flat();
}

function readSettings(env: NodeJS.ProcessEnv): { config?: Omit<BackendConfig, "secrets">; findings: Finding[] } {
  try {
    const config = checkBackendConfig(env);
    const switches = insecureSwitches(config).map((text) => warn("settings", text));
    return { config, findings: [ok("settings", "they are right"), ...switches] };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const problems = error.problems.map((problem) => {
      const [, subject = "settings", text = problem] = /^([A-Z][A-Z0-9_]+): ([\s\S]+)$/.exec(problem) ?? [];
      return wrong(subject, text);
    });
    return { findings: [...problems, warn("settings", "what depends on them is looked at once they are right")] };
  }
}

interface Server {
  url: string;
  isNamed: boolean;
  answer: Answer;
}

/** What depends on the settings. */
function checksOf({ bridge, broker, store }: Omit<BackendConfig, "secrets">, server: Server): Record<string, Check> {
  const { url, isNamed, answer } = server;
  const { dataPath, host, jwks } = bridge;
  const { tls } = broker;
  const redisUrl = store.url;
  const limit = openFileLimit();
  const here = serverUrl(host, bridge.port);
  const ports: Port[] = [
    ["WS_PORT", bridge.port],
    ["MQTT_PORT", broker.mqttPort],
    ["MQTT_WS_PORT", broker.webSocketPort],
    ...(tls === undefined ? [] : [["MQTT_TLS_PORT", tls.port] as const]),
  ];
  return {
    DATA_PATH: () => checkFolder(dataPath),
    damage: () => checkNotedDamage(dataPath),
    AUDIT_LOG: async () => [await checkAuditLog(bridge.auditLog)],
    ...(redisUrl === undefined
      ? {
          store: () => checkStoreLock({ dataPath, url, isNamed, alive: answer.kind === "server" }),
          stores: () => checkStoreFiles(dataPath),
        }
      : { REDIS_URL: () => checkRedisStore({ url: redisUrl, prefix: store.prefix }) }),
    ports: async () => {
      const { kind } = here === url ? answer : await whoAnswers(here);
      return await checkPorts(host, ports, kind === "server");
    },
    ...(limit === undefined
      ? {}
      : { "open files": () => [checkOpenFiles(limit, bridge.sockets.maxConnections, broker.maxClients)] }),
    ...(tls === undefined ? {} : { TLS_CERT: () => checkCertificate(tls, host, Date.now()) }),
    ...(jwks === undefined ? {} : { JWKS_URL: async () => [await checkKeySet(jwks.jwksUrl)] }),
  };
}

/** Before the first start nothing is wrong about it, but with a server that is said to be there. */
function absence(answer: Exclude<Answer, { kind: "server" }>, url: string, isNamed: boolean): Finding {
  const verdict = answer.kind === "nobody" && !isNamed ? warn : wrong;
  return verdict("server", absenceOf(answer, url));
}

async function inTime(subject: string, check: Check): Promise<Finding[]> {
  const left = new AbortController();
  const late = after(CHECK_TIMEOUT_MS, undefined, { signal: left.signal }).then(
    () => [warn(subject, `was not known after ${CHECK_TIMEOUT_MS / 1000} s: try again when this machine is less busy`)],
    () => [],
  );
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    return [wrong(subject, `could not be looked at (${reasonOf(error)})`)];
  } finally {
    left.abort();
  }
}
