import { connect } from "mqtt";
import type { OutsideBrokerConfig } from "../../bridge/broker-link/outside/config.ts";
import { connectionFailure, connectOptions } from "../../bridge/broker-link/outside/connect-options.ts";
import { messageOf } from "../../platform/errors.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const TIMEOUT_MS = 5_000;

/** Connects to the broker of `MQTT_URL` with the server's credentials, under a client id of its own. */
export async function checkOutsideBroker(config: OutsideBrokerConfig): Promise<Finding[]> {
  const { place, version } = config;
  const failure = await connectionProblem(config);
  if (failure !== undefined) return [wrong("MQTT_URL", `${place}: ${failure}`)];
  const name = version === 5 ? "MQTT 5" : "MQTT 3.1.1";
  return [
    ok("MQTT_URL", `${place} accepts the server, with ${name}`),
    ...(version === 5
      ? []
      : [warn("MQTT_VERSION", "with 3.1.1, broadcasts of MQTT clients are not read: use 5 if the broker knows it")]),
  ];
}

/** Resolves to why the connection failed, or to undefined. */
async function connectionProblem(config: OutsideBrokerConfig): Promise<string | undefined> {
  try {
    const clientId = `${config.clientId ?? "skylapse"}-doctor-${process.pid}`;
    const client = connect(config.url, { ...connectOptions(config, clientId), connectTimeout: TIMEOUT_MS });
    let error: Error | undefined;
    return await new Promise((resolve) => {
      client.on("error", (failed) => {
        error = failed;
      });
      client.on("close", () => resolve(connectionFailure(error)));
      client.on("connect", () => {
        client.removeAllListeners("close");
        client.end(true, () => resolve(undefined));
      });
    });
  } catch (error) {
    return messageOf(error);
  }
}
