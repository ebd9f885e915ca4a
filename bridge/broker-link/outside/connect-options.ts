import { readFileSync } from "node:fs";
import type { IClientOptions } from "mqtt";
import type { OutsideBrokerConfig } from "./config.ts";

/**
 * Seconds without a packet before a ping. A broken link is noticed after 1.5 times as long: until then, `/readyz` says
 * that the broker is reachable.
 */
const KEEPALIVE_S = 15;
export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * The options of MQTT.js for one connection. MQTT.js neither reconnects nor subscribes again by itself: it would send its
 * stored publications again, and drops those that wait when the connection ends meanwhile (mqttjs/MQTT.js#2015).
 * @throws a certificate cannot be read. The files are read for each connection, because certificates are renewed.
 */
export function connectOptions(config: OutsideBrokerConfig, clientId: string): IClientOptions {
  const { username, password, caPath, certPath, keyPath, version } = config;
  return {
    ...{ clientId, protocolVersion: version, keepalive: KEEPALIVE_S, connectTimeout: CONNECT_TIMEOUT_MS },
    ...{ clean: true, reconnectPeriod: 0, resubscribe: false, queueQoSZero: false },
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(caPath === undefined ? {} : { ca: readFileSync(caPath) }),
    ...(certPath === undefined || keyPath === undefined
      ? {}
      : { cert: readFileSync(certPath), key: readFileSync(keyPath) }),
  };
}

const ADVICE: readonly [pattern: RegExp, advice: string][] = [
  [/unacceptable protocol|unsupported protocol|protocol version/i, "set MQTT_VERSION=3.1.1"],
  [
    /bad user ?name|not authorized|identifier/i,
    "do MQTT_USERNAME, MQTT_PASSWORD and MQTT_CLIENT_ID suit the rules of the broker?",
  ],
  [/ECONNREFUSED/, "nothing listens there: is the broker running, and are host and port of MQTT_URL right?"],
  [/ENOTFOUND|EAI_AGAIN/, "the host name is unknown: is the host of MQTT_URL right?"],
  [
    /ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|(connack|keepalive) timeout/i,
    "no answer: is the broker running, and is there a network?",
  ],
  [/self.signed|SELF_SIGNED|unable to verify|unable to get (local )?issuer/i, "set MQTT_CA to the broker's authority"],
  [/ALTNAME|altnames/, "the host of MQTT_URL must be one that the broker's certificate names"],
  [
    /certificate required|handshake failure|bad certificate/i,
    "set MQTT_CERT and MQTT_KEY, if the broker asks for them",
  ],
  [/EPROTO|wrong version number/, "that port does not speak TLS: use mqtt:// or ws:// in MQTT_URL"],
];

/** Why a connection failed, with advice for the operator. Leaves out the error's options, which may have the password. */
export function connectionFailure(error: Error | undefined): string {
  if (error === undefined) return "the broker closed the connection";
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  // When several addresses were tried, the error has a code but no message.
  const message = error.message || code || error.name;
  const advice = ADVICE.find(([pattern]) => pattern.test(`${code} ${message}`))?.[1];
  return advice === undefined ? message : `${message}: ${advice}`;
}
