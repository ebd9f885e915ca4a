import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { checkBackendConfig } from "../../../deploy/config/backend-config.ts";
import { insecureSwitches } from "../../../deploy/config/warnings.ts";

const PUBLIC = { HOST: "0.0.0.0", JWT_SECRET: "s".repeat(32), OPERATOR_KEY: "k".repeat(32) };
let folder: string;
let TLS: { TLS_CERT: string; TLS_KEY: string };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "skylapse-warnings-"));
  TLS = { TLS_CERT: join(folder, "cert.pem"), TLS_KEY: join(folder, "key.pem") };
  for (const file of Object.values(TLS)) writeFileSync(file, "");
});

afterAll(() => rmSync(folder, { recursive: true }));

const warnings = (env: NodeJS.ProcessEnv) => insecureSwitches(checkBackendConfig(env));
const sealed = () => ({ ...PUBLIC, ...TLS, TRUSTED_PROXIES: "10.0.0.5" });

it("warns of a permission that grants more in a channel of CHANNELS_FILE than elsewhere", () => {
  const channels = join(folder, "channels.json");
  const everything = {
    filters: ["skylapse/v1/processing/#", "skylapse/v1/cameras/+/events/#"],
    permission: "jobs:read",
  };
  const stacks = { filters: ["skylapse/v1/processing/stacker/#"], permission: "jobs:read" };
  const valley = { filters: ["skylapse/v1/cameras/valley-1/#"], permission: "valley:read" };
  writeFileSync(channels, JSON.stringify({ everything, stacks, valley }));
  expect(warnings({ ...sealed(), CHANNELS_FILE: channels })).toEqual([
    "jobs:read grants more in the channel everything of CHANNELS_FILE than elsewhere: skylapse/v1/cameras/+/events/#",
  ]);
});

it("does not warn of a public server with TLS and all limits", () => {
  expect(warnings(sealed())).toEqual([]);
});

it.each<[string, NodeJS.ProcessEnv, RegExp[]]>([
  ["in trial mode", {}, [/^until the first account or camera is added, .* gets tokens without a key, admin excepted/]],
  ["in trial mode, with a proxy", { TRUSTED_PROXIES: "127.0.0.1" }, []],
  ["of this machine without simulated cameras", { SIMULATOR: "0" }, []],
  ["without TLS", PUBLIC, [/^MQTT on 0\.0\.0\.0 .*TLS_CERT/, /^HTTP on 0\.0\.0\.0 .*TRUSTED_PROXIES/]],
])("lists the warnings for a server %s", (_, env, said) => {
  expect(warnings(env)).toEqual(said.map((text) => expect.stringMatching(text)));
});

it.each<[string, NodeJS.ProcessEnv, RegExp]>([
  ["trusted proxies anywhere", { TRUSTED_PROXIES: "::/0" }, /claim any address: ::\/0 in TRUSTED_PROXIES/],
  ["a journal that is not synced", { JOURNAL_SYNC: "off" }, /power failure can lose .*: JOURNAL_SYNC/],
  ["one limit that is off", { MAX_PAYLOAD_BYTES: "0" }, /^clients can fill memory or disk: MAX_PAYLOAD_BYTES is 0/],
  ["a limit that is off, however 0 is written", { MAX_PAYLOAD_BYTES: " 0x0 " }, /: MAX_PAYLOAD_BYTES is 0$/],
  ["a limit that is off by a 0 with a point", { MAX_CONNECTIONS: "0.0" }, /: MAX_CONNECTIONS is 0$/],
  [
    "two disabled limits",
    { MAX_CONNECTIONS: "0", MAX_CONNECT_BYTES: "0", MAX_CAMERAS: "10" },
    /: MAX_CONNECTIONS, MAX_CONNECT_BYTES are 0$/,
  ],
])("warns about %s", (_, env, said) => {
  expect(warnings({ ...sealed(), ...env })).toEqual([expect.stringMatching(said)]);
});

it("warns of settings that have no effect beside another broker, and of a connection to it that is not encrypted", () => {
  const outside = { ...sealed(), MQTT_URL: "mqtt://broker.example.org", MQTT_SESSION_HOURS: "24", MQTT_PORT: "1884" };
  expect(warnings(outside)).toEqual([
    "without effect, because the broker of MQTT_URL is used: MQTT_PORT, TLS_CERT, TLS_KEY",
    "what is sent to mqtt://broker.example.org is not encrypted, passwords included: use mqtts:// or wss://",
  ]);
  const { TLS_CERT: _cert, TLS_KEY: _key, ...bare } = sealed();
  expect(warnings({ ...bare, MQTT_URL: "mqtts://broker.example.org" })).toEqual([]);
});
