import { Redis } from "ioredis";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { readBridgeConfig } from "../../../bridge/config.ts";
import { readBrokerConfig } from "../../../broker/config.ts";
import { readStoreConfig } from "../../../deploy/config/config.ts";
import { defaultOf, infoOf, type SharedSettings } from "../../../platform/config.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { SERVER_PARTS } from "../../docs/configuration-page.ts";
import { startRedis } from "../../support/redis.ts";
import { joinNodes } from "../../support/redis-journal.ts";

const PROVIDER = {
  JWKS_URL: "https://id.example.org/keys",
  JWT_ISSUER: "https://id.example.org",
  JWT_AUDIENCE: "audience",
};
const BASE: Readonly<Record<string, string>> = {
  ...PROVIDER,
  OIDC_ISSUER: "https://id.example.org",
  OIDC_CLIENT_ID: "skylapse",
  OIDC_REDIRECT_URL: "https://sky.example.org/auth/oidc/callback",
  OIDC_GROUP_ROLES: "*=viewer",
  JWT_SECRET: "a-secret-of-more-than-thirty-two-characters",
  OPERATOR_KEY: "the-key-of-the-operator",
  // Otherwise, another limit follows from MAX_LOGIN_FAILURES.
  MAX_LOGIN_FAILURES_PER_ADDRESS: "100",
};
/** Numbers become larger by 1. */
const OTHERWISE: Readonly<Record<string, string>> = {
  TOPIC_ROOT: "other/v1",
  ALLOWED_ORIGINS: "https://sky.example.org",
  CHANNELS_FILE: "channels.json",
  JWT_SECRET: "another-secret-of-more-than-thirty-two-characters",
  OPERATOR_KEY: "another-key-of-the-operator",
  JWKS_URL: "https://other.example.org/keys",
  // The same issuer as OIDC_ISSUER, in other words.
  JWT_ISSUER: "https://id.example.org/",
  OIDC_ISSUER: "https://id.example.org/",
  OIDC_CLIENT_ID: "other",
  OIDC_CLIENT_SECRET: "a-secret-of-this-server",
  OIDC_REDIRECT_URL: "https://other.example.org/auth/oidc/callback",
  OIDC_SCOPES: "openid groups",
  OIDC_GROUPS_CLAIM: "roles",
  OIDC_GROUP_ROLES: "*=admin",
  JWT_AUDIENCE: "other",
  MAX_LOGIN_FAILURES_PER_ADDRESS: "101",
  MQTT_ACCOUNT_LOGIN: "on",
  MQTT_VERSION: "3.1.1",
  MQTT_CLIENT_ID: "bridge-2",
  ARCHIVE: "off",
  DATABASE_URL: "postgres://user:secret-password@db.example.org/archive",
  ARCHIVE_RETENTION_KINDS: "state=90",
  ALERT_OFFLINE_SECONDS_OF: "north=60",
  HOME_ASSISTANT_DISCOVERY: "on",
  HOME_ASSISTANT_PREFIX: "house",
};
const CHANNELS = '{"valley": {"filters": ["skylapse/v1/cameras/valley-1/#"], "permission": "valley:read"}}';

function sharedOf(env: Readonly<Record<string, string>>): SharedSettings {
  const source = { env, readFile: () => CHANNELS };
  const parts = [readBridgeConfig(source), readBrokerConfig(source), readStoreConfig(source)];
  return new Map(parts.flatMap(({ shared }) => [...shared]));
}

test("each setting that must agree is named at both nodes when it differs, and no secret is shown", async () => {
  const names = SERVER_PARTS.flatMap(({ settings }) => Object.entries(settings)).filter(
    ([, schema]) => infoOf(schema)?.mustAgree === true,
  );
  expect(names.length).toBeGreaterThan(50);
  expect(names.map(([name]) => name).sort()).toEqual([...sharedOf(BASE).keys()].sort());

  const server = await startRedis();
  onTestFinished(() => server.remove());
  const redis = openRedis({ url: server.url, prefix: "settings", logger: pino({ level: "silent" }) });
  onTestFinished(() => redis.close());
  const join = async (env: Readonly<Record<string, string>>) => {
    const lines: { subject?: string }[] = [];
    const logger = pino({ level: "warn" }, { write: (line: string) => lines.push(JSON.parse(line)) });
    const node = await joinNodes(redis, { settings: sharedOf(env), heartbeatMs: 3_600_000, logger });
    return { ...node, lines };
  };
  const one = await join(BASE);
  onTestFinished(one.leave);
  const client = new Redis(server.url);
  onTestFinished(() => client.disconnect());
  for (const [name, schema] of names) {
    const value = OTHERWISE[name] ?? String(Number(defaultOf(schema)) + 1);
    const env = { ...BASE, [name]: value };
    const other = await join(env);
    const seenBefore = one.lines.length;
    for (const { membership } of [one, other]) await membership.beat();
    for (const { membership } of [one, other])
      expect(membership.disagreements.map(({ subject }) => subject)).toEqual([name]);
    const lines = [...one.lines.slice(seenBefore), ...other.lines];
    expect(lines.map(({ subject }) => subject)).toEqual([name, name]);
    if (infoOf(schema)?.isSecret === true) {
      const stored = await client.hgetall(`${redis.prefix}members:settings`);
      const said = JSON.stringify([lines, stored, one.membership.disagreements, other.membership.disagreements]);
      for (const secret of [value, BASE[name]]) if (secret !== undefined) expect(said).not.toContain(secret);
    } else {
      const [here, there] = [sharedOf(env).get(name)?.value, sharedOf(BASE).get(name)?.value];
      expect(other.lines).toMatchObject([{ here, there }]);
    }
    await other.leave();
  }
});
