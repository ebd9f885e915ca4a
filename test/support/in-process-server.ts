import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { startBackend } from "../../deploy/backend.ts";
import { readBackendConfig } from "../../deploy/config/backend-config.ts";
import { version } from "../../deploy/config/package.ts";
import { openStoreApi } from "../../deploy/operator/store-api.ts";

/** A whole server in the process of the test, for tests whose subject is neither the program nor its process. */
export interface InProcessServer {
  /** `http://127.0.0.1:…` */
  http: string;
  /** `ws://127.0.0.1:…/ws` */
  socket: string;
  /** `mqtt://127.0.0.1:…` */
  mqtt: string;
  end(): Promise<void>;
}

const PLACE = { WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0" };
/** These parts run compiled code in threads and processes of their own. */
const WITHOUT = { SIMULATOR: "0", ARCHIVE: "off" };
/** Long enough for a busy machine: these time-outs only end hangs. */
const PATIENCE = {
  ...{ AUTH_TIMEOUT_MS: "120000", REQUEST_TIMEOUT_MS: "120000", DRAIN_TIMEOUT_MS: "120000" },
  ...{ MQTT_CONNECT_TIMEOUT_MS: "120000", MQTT_DRAIN_TIMEOUT_MS: "120000" },
};
const settings = (dataPath: string, env: Record<string, string>) => ({
  ...{ DATA_PATH: dataPath, SHUTDOWN_SPREAD_MS: "0", LOG_LEVEL: "silent" },
  ...PLACE,
  ...WITHOUT,
  ...PATIENCE,
  ...env,
});

/** Starts a server without simulated cameras and archive on free ports. */
export async function startInProcessServer(
  dataPath: string,
  env: Record<string, string> = {},
): Promise<InProcessServer> {
  const logger = pino({ level: "silent" });
  const config = readBackendConfig(settings(dataPath, env));
  const backend = await startBackend({ config, version, pagePath: "", logger });
  let stopped: Promise<void> | undefined;
  const addresses = Object.fromEntries(backend.addresses);
  return {
    http: backend.http,
    socket: addresses.WebSocket ?? "",
    mqtt: addresses.MQTT ?? "",
    end: () => (stopped ??= backend.stop()),
  };
}

/**
 * Makes a request of the operator to a stopped server, as the command `skylapse` does.
 * @returns the JSON of the answer @throws {OperatorApiError} the request was refused
 */
export async function askStore(
  dataPath: string,
  ...[method, path, body]: Parameters<Awaited<ReturnType<typeof openStoreApi>>["call"]>
): Promise<unknown> {
  const store = await openStoreApi(settings(dataPath, {}));
  try {
    return await store.call(method, path, body);
  } finally {
    await store.close();
  }
}

/** Registers a camera in the store of a stopped server. @returns the camera's secret */
export async function registerCamera(dataPath: string, id: string): Promise<string> {
  const answer = await askStore(dataPath, "POST", "/devices", { id, kind: "camera" });
  if (typeof answer !== "object" || answer === null || !("secret" in answer)) throw new Error("no secret was made");
  return String(answer.secret);
}

/** The secrets that a server has generated in its data path. */
export function generatedSecrets(dataPath: string) {
  return JSON.parse(readFileSync(join(dataPath, "secrets.json"), "utf8"));
}
