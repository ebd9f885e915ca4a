import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkBackendConfig } from "../../../deploy/config/backend-config.ts";
import { loadEnvFile } from "../../../deploy/config/env-file.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "skylapse-settings-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe("the file .env", () => {
  it("is read even with a byte order mark and CR line ends, and is overridden by the environment", () => {
    const env: NodeJS.ProcessEnv = { WS_PORT: "9000" };
    loadEnvFile(env, file("windows.env", '\ufeffHOST=127.0.0.1\r\nWS_PORT=8000\r\nLOG_LEVEL="warn" # quiet\r\n'));
    expect(env).toEqual({ HOST: "127.0.0.1", WS_PORT: "9000", LOG_LEVEL: "warn" });
  });

  it("may be missing, and causes an error with its name if it is unreadable", () => {
    const env = {};
    loadEnvFile(env, join(folder, "none.env"));
    expect(env).toEqual({});
    expect(() => loadEnvFile(env, folder)).toThrow(/cannot be read \(EISDIR/);
  });
});

describe("invisible characters", () => {
  it("are ignored at both ends of a setting, a secret or a channels file", () => {
    const { bridge, broker } = checkBackendConfig({
      HOST: "127.0.0.1\r",
      MQTT_PORT: "\ufeff1884\r",
      DATA_PATH: "./data\r",
      JWT_SECRET_FILE: file("secret", `\ufeff${"s".repeat(32)}\r\n${"t".repeat(32)}\r\n`),
      CHANNELS_FILE: file(
        "channels.json",
        '\ufeff{"valley":\r\n{"filters":["skylapse/v1/cameras/valley/#"],"permission":"valley:read"}}\r\n',
      ),
    });
    expect([bridge.host, bridge.loopback, broker.mqttPort, bridge.dataPath]).toEqual([
      ...["127.0.0.1", true, 1884, "./data"],
    ]);
    expect(bridge.jwtSecrets).toEqual(["s".repeat(32), "t".repeat(32)]);
    expect([...bridge.channels.keys()]).toEqual(["valley"]);
  });

  it("are escaped in the error message if they are inside a value", () => {
    expect(() => checkBackendConfig({ HOST: "127.0.0.1\u200b\u202e /", JWT_SECRET: "s".repeat(32) })).toThrow(
      /HOST: .*not "127\.0\.0\.1\\u200b\\u202e \/"/,
    );
  });
});

describe("a variable with a name similar to a setting", () => {
  const misspelt = (env: NodeJS.ProcessEnv) => checkBackendConfig(env).misspelt;

  it.each([
    ["MAX_CONNECTION_PER_USER", "MAX_CONNECTIONS_PER_USER"],
    ["MAX_LOGIN_FAILURE", "MAX_LOGIN_FAILURES"],
    ["DATAPATH", "DATA_PATH"],
    ["JWT_SERCET", "JWT_SECRET"],
    ["OPERATOR_KEY_FIEL", "OPERATOR_KEY_FILE"],
  ])("%s is reported with the setting that was probably meant", (name, meant) => {
    expect(misspelt({ [name]: "7" })).toEqual([`${name} is no setting and is ignored: did you mean ${meant}?`]);
  });

  it("is distinguished from variables of other programs", () => {
    const others = {
      HOME: "/",
      PATH: "/bin",
      HOSTNAME: "a",
      MQTT_HOST: "a",
      PORT: "1",
      TZ: "UTC",
      NODE_ENV: "x",
      USER: "u",
    };
    expect(misspelt(others)).toEqual([]);
  });

  it("is reported if it ends with _FILE although the setting cannot be read from a file", () => {
    expect(misspelt({ LOG_LEVEL_FILE: "/run/level" })).toEqual([
      "LOG_LEVEL_FILE is ignored: LOG_LEVEL is not read from a file",
    ]);
  });
});
