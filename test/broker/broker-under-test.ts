import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type IClientOptions, type ISubscriptionGrant, type MqttClient } from "mqtt";
import pino from "pino";
import { onTestFinished } from "vitest";
import type { DeviceStore } from "../../bridge/auth/devices.ts";
import { openLevelJournal } from "../../bridge/journal/stores/level/level.ts";
import type { VerifyPassword } from "../../broker/access/credentials.ts";
import { type Broker, startBroker } from "../../broker/broker.ts";
import { type BrokerConfig, readBrokerConfig } from "../../broker/config.ts";
import { takeOverEarlierSessions } from "../../broker/sessions/earlier/take-over.ts";
import { topicTree } from "../../contract/topics.ts";
import type { Bearer, TokenIdentity } from "../../platform/identity.ts";
import type { OnDamage } from "../../platform/level/damage.ts";
import type { MqttLog } from "../../platform/publication-log.ts";
import type { Acceptance, IncomingPublication, Ingest } from "../../platform/publications.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { openDevicesOf } from "../support/devices.ts";
import { type NodeWaits, openJournalNode } from "../support/redis-journal.ts";

export const ROOT = "skylapse/v1";
export const SECRET = "a-secret-of-at-least-thirty-two-characters";

export type LogLine = Record<string, unknown> & { msg: string };

/** Records publications. Accepts all unless `answer` is replaced. */
export class RecordingIngest implements Ingest {
  readonly accepted: IncomingPublication[] = [];
  answer: (publication: IncomingPublication) => Promise<Acceptance> = async () => ({ forward: true });

  /** Appends accepted publications to the log, as the bridge's ingest does. */
  log: MqttLog | undefined;

  async accept({ incomingId, ...publication }: IncomingPublication): Promise<Acceptance> {
    this.accepted.push(publication);
    const answer = await this.answer(publication);
    const { identity: _, ...rest } = publication;
    const retain = rest.retain && answer.historical !== true;
    if (answer.forward && (rest.qos > 0 || retain)) await this.log?.append({ ...rest, retain, incomingId });
    return answer;
  }
}

export interface BrokerUnderTest {
  broker: Broker;
  devices: DeviceStore;
  ingest: RecordingIngest;
  log: LogLine[];
  dataPath: string;
  /** Waits for a log line whose message and reason contain the text. */
  logged(text: string): Promise<LogLine>;
  url: string;
  webSocketUrl: string;
  /** Connects with MQTT.js. Resolves when connected, rejects when refused. */
  client(options?: IClientOptions & { url?: string }): Promise<MqttClient>;
  /** Like {@link client}, with an inbox that also collects the queued messages of the session. */
  join(options: IClientOptions): Promise<{ client: MqttClient; inbox: Inbox }>;
  /** A token with the permissions, for the user alice unless the claims name another user. */
  token(permissions: readonly string[], expiresInMs?: number, claims?: Partial<TokenIdentity>): string;
}

export interface BrokerUnderTestOptions {
  env?: Record<string, string>;
  dataPath?: string;
  verifyToken?: (token: string) => Promise<TokenIdentity> | TokenIdentity;
  verifyPassword?: VerifyPassword;
  redis?: RedisConnections;
  onDamage?: OnDamage;
  isRevoked?: (bearer: Bearer) => boolean;
  /** Timeouts and intervals of the journal in Redis, milliseconds. */
  waits?: NodeWaits;
}

let redisFor: ((dataPath: string) => RedisConnections) | undefined;

/**
 * Makes the brokers of this test file store their data in Redis, not at their data path, until it is called without an
 * argument: the next test file may run in the same process.
 */
export function keepSessionsIn(connections?: (dataPath: string) => RedisConnections): void {
  redisFor = connections;
}

export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), "skylapse-broker-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

/** Long timeouts, so that a busy machine does not trigger them. */
const PATIENT = { MQTT_CONNECT_TIMEOUT_MS: "120000", MQTT_DRAIN_TIMEOUT_MS: "120000" };

export function testConfig(dataPath: string, env: Record<string, string> = {}): BrokerConfig {
  return readBrokerConfig({
    env: {
      ...PATIENT,
      DATA_PATH: dataPath,
      MAX_MQTT_BYTES_PER_SECOND: "0",
      MQTT_PORT: "0",
      MQTT_WS_PORT: "0",
      MQTT_TLS_PORT: "0",
      ...env,
    },
    readFile: () => "",
  });
}

/**
 * Starts a broker with the devices `north` (camera), `south` (camera) and `stacker` (processing). It stops with the
 * test.
 */
export async function startTestBroker(options: BrokerUnderTestOptions = {}): Promise<BrokerUnderTest> {
  const { env = {}, dataPath = temporaryFolder(), verifyToken = readToken, redis = redisFor?.(dataPath) } = options;
  const { isRevoked, verifyPassword } = options;
  const log: LogLine[] = [];
  const watchers = new Set<() => void>();
  const logger = pino(
    { level: "debug", base: null },
    {
      write: (line: string) => {
        log.push(JSON.parse(line));
        for (const watch of watchers) watch();
      },
    },
  );
  const ingest = new RecordingIngest();
  const tree = topicTree(ROOT);
  const config = testConfig(dataPath, env);
  // A device's secret has the same creation time at all nodes and in all runs, as if the nodes shared one store.
  let moment = 0;
  const { devices, close } = await openDevicesOf(temporaryFolder(), () => ++moment);
  onTestFinished(close);
  for (const id of ["north", "south"]) await devices.set({ id, kind: "camera", secret: SECRET });
  await devices.set({ id: "stacker", kind: "processing", secret: SECRET });
  const retention = { retentionEvents: 10_000, retentionHours: 24 };
  const journalPath = join(dataPath, "journal");
  const kept = { logger, ...retention };
  const journal =
    redis === undefined
      ? await openLevelJournal({ path: journalPath, sync: false, ...kept })
      : await openJournalNode({ redis, waits: options.waits ?? {}, ...kept });
  onTestFinished(() => journal.close());
  ingest.log = journal.mqtt;
  await takeOverEarlierSessions({
    ...{ path: join(dataPath, "mqtt"), redis, log: journal.mqtt, onDamage: options.onDamage, logger },
    isCommand: (topic) => tree.parse(topic)?.kind === "camera-command",
  });
  const broker = await startBroker({
    config,
    tree,
    channels: new Map(),
    verifyToken,
    verifyPassword,
    devices,
    ingest,
    logger,
    ...(redis === undefined ? {} : { redis }),
    mqttLog: journal.mqtt,
    ...(options.onDamage === undefined ? {} : { onDamage: options.onDamage }),
    ...(isRevoked === undefined ? {} : { isRevoked }),
  });
  const stop = broker.stop.bind(broker);
  let stopping: Promise<void> | undefined;
  broker.stop = () => {
    stopping ??= stop().then(() => journal.close());
    return stopping;
  };
  onTestFinished(() => broker.stop());
  await broker.listen();
  const url = `mqtt://127.0.0.1:${broker.ports.mqtt}`;
  return {
    broker,
    devices,
    ingest,
    log,
    dataPath,
    logged: (text) =>
      new Promise((resolve) => {
        const check = (): void => {
          const line = log.find(({ msg, why }) => `${msg} ${why}`.includes(text));
          if (line === undefined) return;
          watchers.delete(check);
          resolve(line);
        };
        watchers.add(check);
        check();
      }),
    url,
    webSocketUrl: `ws://127.0.0.1:${broker.ports.mqttWs}`,
    client: ({ url: other, ...given } = {}) => connected(connect(other ?? url, { reconnectPeriod: 0, ...given })),
    join: async (options) => {
      const client = connect(url, { reconnectPeriod: 0, ...options });
      const inbox = inboxOf(client);
      return { client: await connected(client), inbox };
    },
    token,
  };
}

/** An unsigned token with two dots, which distinguish a token from a secret. */
function token(permissions: readonly string[], expiresInMs = 60_000, claims: Partial<TokenIdentity> = {}): string {
  const all = { userId: "alice", permissions, expiresAt: Date.now() + expiresInMs, ...claims };
  return `test.${Buffer.from(JSON.stringify(all)).toString("base64url")}.token`;
}

export function readToken(text: string): TokenIdentity {
  const [kind, claims = ""] = text.split(".");
  if (kind !== "test") throw new Error("its signature is unknown");
  return JSON.parse(Buffer.from(claims, "base64url").toString());
}

export const NORTH = { username: "north", password: SECRET };

export function connected(client: MqttClient): Promise<MqttClient> {
  onTestFinished(() => {
    client.end(true);
  });
  return new Promise((resolve, reject) => {
    client.once("connect", () => resolve(client));
    client.once("error", reject);
    client.once("close", () => reject(new Error("closed before it was connected")));
  });
}

export interface Received {
  topic: string;
  payload: string;
  qos: number;
  retain: boolean;
  dup: boolean;
}

export interface Inbox {
  messages: Received[];
  /** Resolves when at least this many messages have arrived. */
  has(count: number): Promise<Received[]>;
}

/** Collects the client's messages from now on. */
export function inboxOf(client: MqttClient): Inbox {
  const messages: Received[] = [];
  const watchers = new Set<() => void>();
  client.on("message", (topic, payload, { qos, retain, dup }) => {
    messages.push({ topic, payload: payload.toString(), qos, retain, dup });
    for (const watch of watchers) watch();
  });
  return {
    messages,
    has: (count) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (messages.length < count) return;
          watchers.delete(check);
          resolve(messages);
        };
        watchers.add(check);
        check();
      }),
  };
}

export function closed(client: MqttClient): Promise<void> {
  return client.disconnected || !client.connected
    ? Promise.resolve()
    : new Promise((resolve) => client.once("close", () => resolve()));
}

export function granted(grants: ISubscriptionGrant[]): number[] {
  return grants.map(({ qos }) => qos);
}

export function topic(below: string): string {
  return `${ROOT}/${below}`;
}

/**
 * Publishes large messages until the condition holds. How much the kernel buffers for a client that does not read
 * depends on the machine: from a few to more than thirty megabytes.
 * @returns the payloads without their padding
 */
export async function publishUntil(camera: MqttClient, event: string, isReached: () => boolean): Promise<string[]> {
  const names: string[] = [];
  while (!isReached()) {
    const name = String(names.length);
    names.push(name);
    await camera.publishAsync(event, name.padEnd(200_000), { qos: 1 });
  }
  return names;
}
