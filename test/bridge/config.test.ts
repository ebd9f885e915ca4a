import { describe, expect, it } from "vitest";
import { readBridgeConfig } from "../../bridge/config.ts";
import { ConfigurationError } from "../../platform/config.ts";

const JWT_SECRET = "0123456789abcdef0123456789abcdef";
const OPERATOR_KEY = "operator-key-0123456789";

function read(env: Record<string, string>, files: Record<string, string> = {}, generated = {}) {
  const readFile = (path: string) => {
    const content = files[path];
    if (content === undefined) throw new Error(`ENOENT: no such file ${path}`);
    return content;
  };
  return readBridgeConfig({ env, readFile, generated });
}

function problems(env: Record<string, string>, files: Record<string, string> = {}, generated = {}): readonly string[] {
  try {
    read(env, files, generated);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

describe("announcements to Home Assistant", () => {
  const on = { JWT_SECRET, HOME_ASSISTANT_DISCOVERY: "on" };

  it("are made only if they are switched on", () => {
    expect(read({ JWT_SECRET }).homeAssistant.discoveryPrefix).toBeUndefined();
    expect(read(on).homeAssistant).toEqual({ discoveryPrefix: "homeassistant", pictureIntervalMs: 10_000 });
  });

  it.each([
    ["skylapse/v1", "skylapse/v1"],
    ["skylapse/v1/house", "skylapse/v1"],
    ["skylapse", "skylapse/v1"],
  ])("may not begin with %s if the root is %s", (prefix, root) => {
    expect(problems({ ...on, HOME_ASSISTANT_PREFIX: prefix, TOPIC_ROOT: root })).toEqual([
      expect.stringMatching(/^HOME_ASSISTANT_PREFIX: .* must differ/),
    ]);
    expect(problems({ JWT_SECRET, HOME_ASSISTANT_PREFIX: prefix, TOPIC_ROOT: root })).toEqual([]);
  });

  it("may begin with a name that the root begins with", () => {
    expect(problems({ ...on, HOME_ASSISTANT_PREFIX: "sky", TOPIC_ROOT: "skylapse" })).toEqual([]);
  });
});

describe("the bridge's configuration", () => {
  it("needs only a secret, and has the documented defaults for all other settings", () => {
    expect(read({ JWT_SECRET })).toMatchObject({
      host: "127.0.0.1",
      loopback: true,
      port: 8082,
      dataPath: "./data",
      topicRoot: "skylapse/v1",
      jwtSecrets: [JWT_SECRET],
      operatorKey: undefined,
      allowedOrigins: [],
      trustedProxies: [],
      logLevel: "info",
      sockets: {
        authTimeoutMs: 10_000,
        pingIntervalMs: 25_000,
        maxConnections: 20_000,
        maxConnectionsPerUser: 5,
        maxConnectionsPerAddress: 100,
        maxUnauthenticated: 2000,
        maxUnauthenticatedPerAddress: 50,
        maxConnectsPerMinute: 3000,
        maxUserConnectsPerMinute: 100,
        maxHttpConnectionsPerAddress: 1000,
        maxQueuedBytes: 262_144,
        flushIntervalMs: 10,
        drainTimeoutMs: 30_000,
      },
      journal: { sync: true, retentionEvents: 10_000, retentionHours: 24 },
      presence: { graceMs: 30_000 },
      http: { maxBodyBytes: 262_144, maxRequestsPerMinute: 3000, tokenTtlSeconds: 86_400 },
    });
  });

  it.each(["SKYLAPSE_JWT_SECRET", "REALTIME_JWT_SECRET"])("also reads the secret from %s", (alias) => {
    expect(read({ [alias]: JWT_SECRET }).jwtSecrets).toEqual([JWT_SECRET]);
  });

  it("reads secrets from files, aliases included", () => {
    const files = { "/run/jwt": `${JWT_SECRET}\n`, "/run/key": OPERATOR_KEY };
    const config = read({ REALTIME_JWT_SECRET_FILE: "/run/jwt", OPERATOR_KEY_FILE: "/run/key" }, files);
    expect(config).toMatchObject({ jwtSecrets: [JWT_SECRET], operatorKey: OPERATOR_KEY });
  });

  it("uses a generated secret only where no secret is set", () => {
    const generated = { JWT_SECRET: "g".repeat(32), OPERATOR_KEY: "g".repeat(32) };
    expect(read({}, {}, generated)).toMatchObject({ jwtSecrets: ["g".repeat(32)], operatorKey: "g".repeat(32) });
    expect(read({ JWT_SECRET, OPERATOR_KEY }, {}, generated)).toMatchObject({
      jwtSecrets: [JWT_SECRET],
      operatorKey: OPERATOR_KEY,
    });
  });

  it("reads the offline limits of single cameras and names every wrong pair", () => {
    const { alerts } = read({ JWT_SECRET, ALERT_OFFLINE_SECONDS_OF: "north=60, attic=0" });
    expect([...alerts.offlineMsOf]).toEqual([
      ["north", 60_000],
      ["attic", 0],
    ]);
    expect(problems({ JWT_SECRET, ALERT_OFFLINE_SECONDS_OF: "north, no\u202erth=60" })).toEqual([
      'ALERT_OFFLINE_SECONDS_OF: "north" is no camera and its seconds, such as north=60, not "north, no\\u202erth=60"',
      'ALERT_OFFLINE_SECONDS_OF: "no\\u202erth=60" is no camera and its seconds, such as north=60, not "north, no\\u202erth=60"',
    ]);
  });

  it("reads the share of a channel that one sender may have", () => {
    expect(read({ JWT_SECRET }).journal.sharePercent).toBe(10);
    expect(read({ JWT_SECRET, RETENTION_SHARE_PERCENT: "25" }).journal.sharePercent).toBe(25);
    expect(problems({ JWT_SECRET, RETENTION_SHARE_PERCENT: "101" })).toEqual([
      'RETENTION_SHARE_PERCENT: must be at most 100, not "101"',
    ]);
  });

  it("reads 0 as no limit", () => {
    const { sockets, http } = read({
      JWT_SECRET,
      MAX_CONNECTIONS_PER_USER: "0",
      MAX_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_SECOND: "0",
    });
    expect(sockets.maxConnectionsPerUser).toBe(Number.POSITIVE_INFINITY);
    expect(http.maxRequestsPerMinute).toBe(Number.POSITIVE_INFINITY);
    expect(http.maxRequestsPerSecond).toBe(Number.POSITIVE_INFINITY);
  });

  it("derives the limit of HTTP connections from the limit of dashboards, unless the limit of HTTP connections is set", () => {
    const limit = (env: Record<string, string>) => read({ JWT_SECRET, ...env }).sockets.maxHttpConnectionsPerAddress;
    expect(limit({ MAX_CONNECTIONS_PER_ADDRESS: "7" })).toBe(70);
    expect(limit({ MAX_CONNECTIONS_PER_ADDRESS: "0" })).toBe(Number.POSITIVE_INFINITY);
    expect(limit({ MAX_CONNECTIONS_PER_ADDRESS: "7", MAX_HTTP_CONNECTIONS_PER_ADDRESS: "9" })).toBe(9);
    expect(limit({ MAX_HTTP_CONNECTIONS_PER_ADDRESS: "0" })).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("a server that others can reach", () => {
  it.each(["0.0.0.0", "::", "192.168.1.5", "sky.example.org"])("needs both secrets: HOST=%s", (HOST) => {
    const said = problems({ HOST }, {}, { JWT_SECRET: "g".repeat(32), OPERATOR_KEY: "g".repeat(32) });
    expect(said).toHaveLength(2);
    expect(said[0]).toMatch(/^JWT_SECRET: must be set when HOST can be reached by others/);
    expect(said[1]).toMatch(/^OPERATOR_KEY: must be set when HOST can be reached by others/);
  });

  it("refuses short secrets", () => {
    expect(problems({ HOST: "0.0.0.0", JWT_SECRET: "short", OPERATOR_KEY: "short" })).toEqual([
      "JWT_SECRET: must have at least 32 characters in each line",
      "OPERATOR_KEY: must have at least 16 characters",
    ]);
    expect(problems({ JWT_SECRET, OPERATOR_KEY: "a key with blanks" })).toEqual([
      "OPERATOR_KEY: must be visible ASCII without blanks: it is sent in a header",
    ]);
  });

  it("has an address that does not count as loopback", () => {
    expect(read({ HOST: "0.0.0.0", JWT_SECRET, OPERATOR_KEY }).loopback).toBe(false);
  });

  it.each(["127.0.0.1", "127.0.0.2", "::1", "localhost"])("does not have the loopback address %s", (HOST) => {
    expect(read({ HOST, JWT_SECRET }).loopback).toBe(true);
  });
});

describe("wrong settings", () => {
  it("are reported all at once, by variable, without the values of secrets", () => {
    const said = problems({
      WS_PORT: "99999",
      TOPIC_ROOT: "sky/#",
      ALLOWED_ORIGINS: "https://sky.example.org/page, *",
      TRUSTED_PROXIES: "10.0.0.0/33,proxy",
      JOURNAL_SYNC: "sometimes",
      LOG_LEVEL: "loud",
      MAX_CONNECTIONS: "many",
      JWT_SECRET: "hunter2",
    });
    for (const name of ["WS_PORT", "TOPIC_ROOT", "JOURNAL_SYNC", "LOG_LEVEL", "MAX_CONNECTIONS", "JWT_SECRET"])
      expect(said.filter((line) => line.startsWith(`${name}: `))).toHaveLength(1);
    expect(said.filter((line) => line.startsWith("ALLOWED_ORIGINS: "))).toHaveLength(2);
    expect(said.filter((line) => line.startsWith("TRUSTED_PROXIES: "))).toHaveLength(2);
    expect(said.join()).not.toContain("hunter2");
  });

  it("include a missing secret", () => {
    expect(problems({})).toEqual([
      "JWT_SECRET: must be set when HOST can be reached by others: at least 32 characters, such as openssl rand -hex 32 prints",
    ]);
  });
});

describe("CHANNELS_FILE", () => {
  const CHANNELS_FILE = "/etc/channels.json";
  const withFile = (content: unknown) =>
    problems({ JWT_SECRET, CHANNELS_FILE }, { [CHANNELS_FILE]: JSON.stringify(content) });

  it("adds channels", () => {
    const weather = { filters: ["skylapse/v1/cameras/+/state/environment"], permission: "weather:read" };
    const config = read({ JWT_SECRET, CHANNELS_FILE }, { [CHANNELS_FILE]: JSON.stringify({ weather }) });
    expect([...config.channels]).toEqual([["weather", weather]]);
  });

  it("is named when it is missing or is not JSON", () => {
    expect(problems({ JWT_SECRET, CHANNELS_FILE })[0]).toMatch(
      /^CHANNELS_FILE: cannot read \/etc\/channels\.json as JSON \(ENOENT/,
    );
    expect(problems({ JWT_SECRET, CHANNELS_FILE }, { [CHANNELS_FILE]: "{" })[0]).toMatch(/^CHANNELS_FILE: cannot/);
  });

  it.each([
    [{ dashboard: { filters: ["skylapse/v1/#"], permission: "x:read" } }, "at dashboard: "],
    [{ a: { filters: ["skylapse/v1/#/x"], permission: "x:read" } }, "at a.filters.0: "],
    [{ a: { filters: [], permission: "x:read" } }, "at a.filters: "],
    [{ a: { filters: ["skylapse/v1/#"], permission: "everything" } }, "at a.permission: "],
    [{ a: { filters: ["other/#"], permission: "x:read" } }, 'at a: the filter "other/#" is not below TOPIC_ROOT'],
    [[], "at its top: "],
  ])("is refused when it contains %j, and the error names the position", (content, place) => {
    const [first, ...rest] = withFile(content);
    expect(first).toContain(`CHANNELS_FILE: ${place}`);
    expect(rest).toEqual([]);
  });
});

describe("the keys that verify tokens", () => {
  const [one, other] = ["1".repeat(32), "2".repeat(40)];
  const read = (env: Record<string, string>) =>
    readBridgeConfig({ env: { JWT_SECRET: one, ...env }, readFile: () => "" });

  it("are the lines of JWT_SECRET; the first one signs", () => {
    expect(read({ JWT_SECRET: `${other}\n${one}\n` }).jwtSecrets).toEqual([other, one]);
    expect(() => read({ JWT_SECRET: `${one}\nshort` })).toThrow(
      /JWT_SECRET: must have at least 32 characters in each line/,
    );
  });

  it("may be the keys of an identity provider, over HTTPS, with issuer and audience", () => {
    const provider = { JWKS_URL: "https://id.example.org/jwks", JWT_ISSUER: "me", JWT_AUDIENCE: "us" };
    const groups = { claim: ["groups"], roles: [] };
    expect(read(provider).jwks).toEqual({ jwksUrl: provider.JWKS_URL, issuer: "me", audience: "us", groups });
    expect(read({}).jwks).toBeUndefined();
    expect(() => read({ ...provider, JWKS_URL: "http://id.example.org/jwks" })).toThrow(
      /JWKS_URL: must be an https: URL/,
    );
    expect(() => read({ ...provider, JWT_AUDIENCE: "" })).toThrow(/JWT_AUDIENCE: must be set with JWKS_URL/);
  });

  it("are from the issuer with which people sign in, so that a user id means one person", () => {
    const signIn = {
      ...{ OIDC_ISSUER: "https://id.example.org/", OIDC_CLIENT_ID: "sky" },
      OIDC_REDIRECT_URL: "https://sky.example.org/auth/oidc/callback",
    };
    const keys = { JWKS_URL: "https://id.example.org/jwks", JWT_AUDIENCE: "us", JWT_ISSUER: "https://id.example.org" };
    expect(read({ ...signIn, ...keys }).oidc?.clientId).toBe("sky");
    expect(() => read({ ...signIn, ...keys, JWT_ISSUER: "https://other.example.org" })).toThrow(
      /JWT_ISSUER: must be the same issuer as OIDC_ISSUER/,
    );
  });
});
