import { z } from "zod";
import { authSettings } from "../../bridge/auth/config.ts";
import { oidcSettings } from "../../bridge/auth/oidc-config.ts";
import { MAX_PROVIDER_ANSWER_BYTES } from "../../bridge/auth/provider-fetch.ts";
import { MAX_TOKEN_LENGTH } from "../../bridge/auth/tokens.ts";
import { outsideBrokerSettings } from "../../bridge/broker-link/outside/config.ts";
import { alertSettings } from "../../bridge/cameras/alerts/config.ts";
import { cameraSettings } from "../../bridge/cameras/config.ts";
import { homeAssistantSettings } from "../../bridge/cameras/home-assistant/config.ts";
import { commandSettings } from "../../bridge/commands/config.ts";
import { bridgeSettings } from "../../bridge/config.ts";
import { httpSettings } from "../../bridge/http/config.ts";
import { MAX_STRANGER_BODY_BYTES } from "../../bridge/http/request-body.ts";
import { archiveSettings } from "../../bridge/journal/archive/config.ts";
import { journalSettings } from "../../bridge/journal/config.ts";
import { previewSettings } from "../../bridge/previews/config.ts";
import { socketSettings } from "../../bridge/websocket/config.ts";
import { MAX_CLIENT_ID_LENGTH } from "../../broker/access/connect-packet.ts";
import { brokerSettings } from "../../broker/config.ts";
import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import { MAX_AUTH_FRAME_BYTES, MAX_CLIENT_FRAME_BYTES } from "../../contract/socket-messages.ts";
import { MAX_TOPIC_LENGTH, MAX_TOPIC_LEVELS } from "../../contract/topics.ts";
import { commandLineSettings, simulatorSettings, storeSettings } from "../../deploy/config/config.ts";
import { deviceSettings } from "../../device/config.ts";
import { defaultOf, infoOf, type Settings } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";

interface Part {
  heading: string;
  /** Path of the file with the settings. */
  source: string;
  settings: Settings;
}

export const SERVER_PARTS: readonly Part[] = [
  { heading: "General", source: "platform/server-settings.ts", settings: serverSettings },
  { heading: "Channels and log", source: "bridge/config.ts", settings: bridgeSettings },
  { heading: "Accounts and tokens", source: "bridge/auth/config.ts", settings: authSettings },
  {
    heading: "Sign-in with an identity provider",
    source: "bridge/auth/oidc-config.ts",
    settings: oidcSettings,
  },
  { heading: "HTTP", source: "bridge/http/config.ts", settings: httpSettings },
  { heading: "Dashboards", source: "bridge/websocket/config.ts", settings: socketSettings },
  { heading: "MQTT", source: "broker/config.ts", settings: brokerSettings },
  {
    heading: "Another MQTT broker",
    source: "bridge/broker-link/outside/config.ts",
    settings: outsideBrokerSettings,
  },
  { heading: "Journal", source: "bridge/journal/config.ts", settings: journalSettings },
  { heading: "Archive", source: "bridge/journal/archive/config.ts", settings: archiveSettings },
  { heading: "Redis", source: "deploy/config/config.ts", settings: storeSettings },
  { heading: "Cameras", source: "bridge/cameras/config.ts", settings: cameraSettings },
  { heading: "Alerts", source: "bridge/cameras/alerts/config.ts", settings: alertSettings },
  { heading: "Home Assistant", source: "bridge/cameras/home-assistant/config.ts", settings: homeAssistantSettings },
  { heading: "Commands", source: "bridge/commands/config.ts", settings: commandSettings },
  { heading: "Previews", source: "bridge/previews/config.ts", settings: previewSettings },
  { heading: "Simulated cameras", source: "deploy/config/config.ts", settings: simulatorSettings },
  { heading: "Command skylapse", source: "deploy/config/config.ts", settings: commandLineSettings },
];

const KiB = 1024;

export function configurationPage(): string {
  return `<!-- \`npm run docs\` writes this page from the schemas of the settings. -->

# Configuration

All settings are environment variables. A program reads its settings once, at the start, and reports all invalid settings
together, by name. It also warns about misspelt names, which differ from a setting in one or two letters.

- The server also reads a file \`.env\` in the folder where it is started. The environment takes precedence.
- The camera program also reads a JSON file with the same names: \`skylapse-camera --config FILE\`. The environment takes precedence.
- \`skylapse check-config\` and \`skylapse-camera --check-config\` report all problems of the settings and start nothing.
- For a setting marked **secret**, \`NAME_FILE\` may be set instead: the path of a file that contains the value.
- A setting marked **all nodes** must be the same at all [nodes that share a Redis](operations.md#several-nodes-with-redis). Nodes
  whose values differ say so in their logs and in \`/readyz\`, and \`skylapse doctor\` lists the difference.
- Port 0 chooses a free port. The start-up lines name this port.
- A limit per address treats an IPv6 network of 64 bits as one address.

- [Server](#server): ${SERVER_PARTS.map(({ heading }) => linkTo(heading)).join(", ")}
- [Camera program](#camera-program)
- [Fixed limits](#fixed-limits)

## Server

${SERVER_PARTS.map((part) => section(`### ${part.heading}`, part)).join("\n")}
${section("## Camera program", { source: "device/config.ts", settings: deviceSettings })}
## Fixed limits

No setting changes these limits.

| What | Limit |
| --- | --- |
| Topics and topic filters | ${MAX_TOPIC_LEVELS} levels, ${MAX_TOPIC_LENGTH} characters |
| MQTT client ids | ${MAX_CLIENT_ID_LENGTH} characters |
| QoS 2 publications of one MQTT client that wait for PUBREL | 1000 |
| Packets of an MQTT client before its CONNACK | 100 |
| Sessions of senders with duplicate detection | 128 of one sender, 20000 of all; above this, the sender with the most sessions loses its oldest session |
| Levels of nesting in JSON | ${MAX_JSON_DEPTH}; deeper JSON in an event becomes text |
| Frames from a dashboard | ${MAX_CLIENT_FRAME_BYTES / KiB} KiB, ${MAX_AUTH_FRAME_BYTES / KiB} KiB before authentication |
| Tokens | ${MAX_TOKEN_LENGTH / KiB} KiB |
| Body of an HTTP request without a valid token | ${MAX_STRANGER_BODY_BYTES / KiB} KiB; with a valid token, \`MAX_PAYLOAD_BYTES\` |
| Each answer of an identity provider, such as its keys | ${MAX_PROVIDER_ANSWER_BYTES / KiB / KiB} MiB. Each has 5 seconds, or 10 seconds during a sign-in |
`;
}

function linkTo(heading: string): string {
  return `[${heading}](#${heading.toLowerCase().replaceAll(" ", "-")})`;
}

function section(heading: string, { source, settings }: Omit<Part, "heading">): string {
  const rows = Object.entries(settings).map(([name, schema]) => {
    const info = infoOf(schema);
    if (info === undefined) throw new Error(`${name} has no description`);
    const secret = info.isSecret === true ? " **secret**" : "";
    const shared = info.mustAgree === true ? " **all nodes**" : "";
    return `| \`${name}\`${secret}${shared} | ${defaultText(schema)} | ${valuesText(name, schema)} | ${info.description.replaceAll("|", "\\|")} |`;
  });
  return `${heading}

Source: [\`${source}\`](../${source})

| Variable | Default | Values | Meaning |
| --- | --- | --- | --- |
${rows.join("\n")}
`;
}

function defaultText(schema: Settings[string]): string {
  const words = infoOf(schema)?.defaultText;
  if (words !== undefined) return words;
  const value = defaultOf(schema);
  if (typeof value === "string" || typeof value === "number") return `\`${value}\``;
  return z.safeParse(schema, undefined).success ? "none" : "must be set";
}

const UNITS: Readonly<Record<string, string>> = {
  MS: "milliseconds",
  S: "seconds",
  SECONDS: "seconds",
  MINUTES: "minutes",
  HOURS: "hours",
  DAYS: "days",
  BYTES: "bytes",
  PERCENT: "percent",
  C: "°C",
};

function valuesText(name: string, schema: Settings[string]): string {
  const suffix = /_([A-Z]+?)(?:_MAX)?(?:_PER_[A-Z_]+)?$/.exec(name)?.[1] ?? "";
  const { type, minimum, exclusiveMinimum, maximum, enum: names } = z.toJSONSchema(schema, JSON_SCHEMA);
  const info = infoOf(schema);
  if (names !== undefined) return names.map((value) => `\`${value}\``).join(", ");
  if (type !== "integer" && type !== "number") return info?.values ?? "";
  return [info?.unit ?? UNITS[suffix], info?.values ?? rangeText()].filter(Boolean).join(", ");

  function rangeText(): string {
    if (z.safeParse(schema, "0").data === Number.POSITIVE_INFINITY) return "0 = no limit";
    if (exclusiveMinimum !== undefined) return `above ${exclusiveMinimum}`;
    if (maximum === Number.MAX_SAFE_INTEGER || maximum === undefined) return `${minimum} or more`;
    return minimum === undefined ? `at most ${maximum}` : `${minimum} to ${maximum}`;
  }
}

const JSON_SCHEMA = { io: "input", unrepresentable: "any" } as const;
