import { readFileSync } from "node:fs";
import { z } from "zod";
import { ConfigurationError, setting, type ValuesOf } from "../../../platform/config.ts";

const SCHEMES: ReadonlySet<string> = new Set(["mqtt:", "mqtts:", "ws:", "wss:"]);
const URL_PROBLEM = "must be an address such as mqtt://broker.example.org:1883, mqtts://…:8883, ws://… or wss://…";

export const outsideBrokerSettings = {
  MQTT_URL: setting(
    "Address of another MQTT broker (`mqtt://`, `mqtts://`, `ws://` or `wss://`). If it is set, cameras and the server " +
      "are clients of that broker, and the server starts no broker itself. See [another MQTT broker](mqtt-integrations.md#beside-another-broker).",
    z.string().superRefine(checkUrl).optional(),
    { isSecret: true },
  ),
  MQTT_USERNAME: setting("User name of the server at the broker of `MQTT_URL`.", z.string().optional(), {
    isSecret: true,
  }),
  MQTT_PASSWORD: setting("Password of the server at the broker of `MQTT_URL`.", z.string().optional(), {
    isSecret: true,
  }),
  MQTT_CA: setting(
    "PEM file with the authorities that the certificate of that broker must come from. Default: those of Node.js.",
    z.string().optional(),
  ),
  MQTT_CERT: setting("PEM file with the server's client certificate for that broker.", z.string().optional()),
  MQTT_KEY: setting("PEM file with the key of that certificate.", z.string().optional()),
  MQTT_VERSION: setting(
    "Version of MQTT that the server speaks with that broker. With 3.1.1, broadcasts of MQTT clients are not read.",
    z.enum(["5", "3.1.1"], { error: "must be 5 or 3.1.1" }).default("5"),
    { mustAgree: true },
  ),
  MQTT_CLIENT_ID: setting(
    "Client id of the server at that broker, whose session keeps what cameras send while the server is away. All nodes " +
      "share it. A second client id is used for commands: this one, `-` and the id of the node.",
    z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 letters, digits, _ and -")
      .optional(),
    { mustAgree: true, defaultText: "`skylapse-` and a random name, which is stored" },
  ),
};

/** Where the other broker is, and how this server connects. */
export interface OutsideBrokerConfig {
  url: string;
  /** The address without its query, which may contain a signature. For logs. */
  place: string;
  username: string | undefined;
  password: string | undefined;
  caPath: string | undefined;
  certPath: string | undefined;
  keyPath: string | undefined;
  version: 4 | 5;
  clientId: string | undefined;
}

/** @returns undefined without `MQTT_URL` @throws {ConfigurationError} */
export function outsideBrokerConfig(read: ValuesOf<typeof outsideBrokerSettings>): OutsideBrokerConfig | undefined {
  const { MQTT_URL: url, MQTT_CERT: certPath, MQTT_KEY: keyPath, MQTT_CA: caPath } = read;
  if (url === undefined) return undefined;
  const { protocol, host, pathname } = new URL(url);
  const isTls = protocol === "mqtts:" || protocol === "wss:";
  const problems: string[] = [];
  if ((certPath === undefined) !== (keyPath === undefined))
    problems.push("MQTT_CERT: must be set together with MQTT_KEY: a client certificate needs both files");
  if (!isTls && (caPath !== undefined || certPath !== undefined))
    problems.push("MQTT_URL: must begin with mqtts:// or wss:// if MQTT_CA or MQTT_CERT is set");
  if (read.MQTT_VERSION === "3.1.1" && read.MQTT_PASSWORD !== undefined && read.MQTT_USERNAME === undefined)
    problems.push("MQTT_USERNAME: must be set too when MQTT_PASSWORD is: MQTT 3.1.1 allows no password alone");
  problems.push(...unreadable({ MQTT_CA: caPath, MQTT_CERT: certPath, MQTT_KEY: keyPath }));
  if (problems.length > 0) throw new ConfigurationError(problems);
  return {
    ...{ url, place: `${protocol}//${host}${pathname === "/" ? "" : pathname}` },
    ...{ username: read.MQTT_USERNAME, password: read.MQTT_PASSWORD, caPath, certPath, keyPath },
    version: read.MQTT_VERSION === "5" ? 5 : 4,
    clientId: read.MQTT_CLIENT_ID,
  };
}

function unreadable(files: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(files).flatMap(([name, path]) => {
    if (path === undefined) return [];
    try {
      readFileSync(path);
      return [];
    } catch (error) {
      return [`${name}: cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`];
    }
  });
}

function checkUrl(text: string, context: z.RefinementCtx): void {
  const message = problemOf(text);
  if (message !== undefined) context.addIssue({ code: "custom", message });
}

function problemOf(text: string): string | undefined {
  if (!URL.canParse(text)) return URL_PROBLEM;
  const { protocol, hostname, username, password } = new URL(text);
  if (!SCHEMES.has(protocol) || hostname === "") return URL_PROBLEM;
  return username === "" && password === ""
    ? undefined
    : "must not contain a user name or password, which logs could show: use MQTT_USERNAME and MQTT_PASSWORD";
}
