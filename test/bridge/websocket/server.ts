import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, pino } from "pino";
import { onTestFinished } from "vitest";
import { createTokens, type Tokens } from "../../../bridge/auth/tokens.ts";
import { LocalRegister } from "../../../bridge/cluster/local/in-memory.ts";
import type { CommandRunner } from "../../../bridge/commands/command-relay.ts";
import { type BridgeIngest, createIngest } from "../../../bridge/ingest.ts";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { withFairShares } from "../../../bridge/journal/shared-channels.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { openPreviews } from "../../../bridge/previews/previews.ts";
import type { SocketsConfig } from "../../../bridge/websocket/config.ts";
import { type SocketsOptions, startSockets } from "../../../bridge/websocket/server.ts";
import type { Sockets } from "../../../bridge/websocket/sockets.ts";
import type { CustomChannels } from "../../../contract/channels.ts";
import { grantsOf } from "../../../contract/permissions.ts";
import { topicTree } from "../../../contract/topics.ts";
import { LimitedLog } from "../../../platform/limited-log.ts";
import { createOrigins } from "../../../platform/origins.ts";

export const tree = topicTree();
export const logger = pino({ level: process.env.TEST_LOG_LEVEL ?? "silent" });
export const SECRET = "a secret of the tests, long enough";

const originsOf = (allowed: readonly string[]) =>
  createOrigins({ allowed, isTrustedProxy: () => false, log: new LimitedLog(), warn: () => {} });

const DEFAULTS: SocketsConfig = {
  // Long timeouts, so that a busy machine does not look like a client that hangs.
  authTimeoutMs: 120_000,
  pingIntervalMs: 25_000,
  maxConnections: 20_000,
  maxConnectionsPerUser: 5,
  maxConnectionsPerAddress: 1_000,
  maxUnauthenticated: 2_000,
  maxUnauthenticatedPerAddress: 500,
  maxConnectsPerMinute: Number.POSITIVE_INFINITY,
  maxUserConnectsPerMinute: Number.POSITIVE_INFINITY,
  maxHttpConnectionsPerAddress: 10_000,
  maxQueuedBytes: 262_144,
  flushIntervalMs: 10,
  drainTimeoutMs: 120_000,
  maxSubscriptions: 100,
  maxMessagesPerSecond: 1_000,
  origins: originsOf([]),
  addressOf: ({ socket }) => socket.remoteAddress ?? "",
  isTrustedProxy: () => false,
};

export interface RealtimeOptions extends Partial<SocketsConfig> {
  channels?: CustomChannels;
  commands?: CommandRunner;
  register?: SocketsOptions["register"];
  retentionEvents?: number;
  allowedOrigins?: readonly string[];
  /** A sender whose share of a channel exceeds this percentage gets a log of its own. Default: no sender does. */
  sharePercent?: number;
  /** The logger of the WebSocket server. Default: silent. */
  socketsLogger?: Logger;
}

export interface Realtime {
  url: string;
  journal: Journal;
  ingest: BridgeIngest;
  sockets: Sockets;
  tokens: Tokens;
  /** The server's sockets, in the order in which they connected. */
  accepted: Socket[];
  /** @param permissions default: all that a dashboard may use */
  token(user?: string, permissions?: readonly string[], ttlSeconds?: number): string;
  /** Publishes an event of a camera. @returns its position */
  event(camera: string, data: unknown, event?: string): Promise<number>;
  /** Publishes a retained topic of a camera. Null clears the topic. @returns the position */
  state(camera: string, name: string, data: unknown): Promise<number>;
}

export const EVERYTHING: readonly string[] = [
  "dashboard:read",
  "camera:read",
  "alerts:read",
  "jobs:read",
  "system:read",
  "camera:control",
];

/** Starts WebSocket server, ingest and journal on a plain HTTP server. All stop with the test that started them. */
export async function startRealtime(options: RealtimeOptions = {}): Promise<Realtime> {
  const {
    channels = new Map(),
    commands = { run: () => {} },
    register = new LocalRegister(),
    retentionEvents = 10_000,
    allowedOrigins = [],
    sharePercent = 100,
    socketsLogger = logger,
    ...config
  } = options;
  const path = await mkdtemp(join(tmpdir(), "skylapse-realtime-"));
  const store = await openLevelJournal({
    path: join(path, "journal"),
    ...{ sync: false, retentionEvents, retentionHours: 24, logger },
  });
  const journal = withFairShares(store, { retentionEvents, sharePercent });
  const previews = await openPreviews({ path: join(path, "previews") });
  const ingest = createIngest({ journal, tree, channels, previews, maxPayloadBytes: 262_144, logger });
  const tokens = createTokens({ secrets: [SECRET] });
  const sockets = startSockets({
    ...{
      config: { ...DEFAULTS, origins: originsOf(allowedOrigins), ...config },
      journal,
      tokens,
      channels,
      commands,
      logger: socketsLogger,
    },
    register,
    audit: { refuse: () => {} },
    store: { shared: false, unavailableReason: () => undefined },
    grantsOf: (permissions) => grantsOf(permissions, { tree, channels }),
  });
  const accepted: Socket[] = [];
  const server = createServer();
  server.on("connection", (socket) => accepted.push(socket));
  server.on("upgrade", (request, socket, head) => sockets.handleUpgrade(request, socket, head));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    await sockets.stop();
    await new Promise((resolve) => server.close(resolve));
    await journal.close();
    await rm(path, { recursive: true });
  });

  const awaited = new Map<string, ((position: number) => void)[]>();
  journal.follow((entries) => {
    for (const { topic, position } of entries) awaited.get(topic)?.shift()?.(position);
  });

  async function publish(topic: string, body: unknown, retain: boolean): Promise<number> {
    const payload = body === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
    const position = new Promise<number>((resolve) => {
      const others = awaited.get(topic);
      if (others === undefined) awaited.set(topic, [resolve]);
      else others.push(resolve);
    });
    const { forward } = await ingest.accept({ identity: "device:test", topic, payload, qos: 1, retain });
    if (!forward) throw new Error("treated as a duplicate");
    return await position;
  }

  return {
    ...{ url: `ws://127.0.0.1:${portOf(server.address())}/ws`, journal, ingest, sockets, tokens, accepted },
    token: (userId = "alice", permissions = EVERYTHING, ttlSeconds = 900) =>
      tokens.mint({ userId, permissions, ttlSeconds }).token,
    event: (camera, data, event = "capture.completed") =>
      publish(tree.build({ kind: "camera-event", camera, event }), data, false),
    state: (camera, name, data) => publish(tree.build({ kind: "camera-state", camera, name }), data, true),
  };
}

function portOf(address: string | AddressInfo | null): number {
  if (address === null || typeof address === "string") throw new Error("not listening on a port");
  return address.port;
}
