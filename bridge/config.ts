import { join } from "node:path";
import { z } from "zod";
import { type CustomChannels, customChannelsSchema } from "../contract/channels.ts";
import { isId } from "../contract/ids.ts";
import { DEFAULT_TOPIC_ROOT, topicProblem } from "../contract/topics.ts";
import { quoted } from "../contract/visible-text.ts";
import { withoutBom } from "../platform/byte-order-mark.ts";
import { isLoopbackHost, proxyProblem } from "../platform/client-addresses.ts";
import {
  ConfigurationError,
  countVariable,
  type EnvironmentSource,
  limitVariable,
  listVariable,
  plainValue,
  portVariable,
  readEnvironment,
} from "../platform/config.ts";
import { normalOrigin } from "../platform/origins.ts";
import { MIN_SECRET_LENGTH } from "./auth/tokens.ts";

/** A key that is typed by people, but not guessed by anybody. */
export const MIN_OPERATOR_KEY_LENGTH = 16;
/** The longest life of a token that was minted without the operator key, seconds. */
export const OPEN_TOKEN_TTL_SECONDS = 900;

const SECRETS = ["JWT_SECRET", "OPERATOR_KEY"] as const;
/** Names that the predecessor gave the secret; installations still use them. */
const JWT_SECRET_ALIASES = ["SKYLAPSE_JWT_SECRET", "REALTIME_JWT_SECRET"] as const;

/** Those that may be given as `NAME_FILE`. */
export const BRIDGE_FILE_VARIABLES: readonly string[] = [...SECRETS, ...JWT_SECRET_ALIASES];

/** The names of all settings that the bridge reads. */
export function bridgeVariables(): string[] {
  return [...Object.keys(bridgeSchema(DEFAULT_TOPIC_ROOT, () => "").shape), ...JWT_SECRET_ALIASES];
}

export type BridgeConfig = ReturnType<typeof readBridgeConfig>;

export interface BridgeConfigSource extends Omit<EnvironmentSource, "secrets"> {
  /**
   * Secrets made at the first start. They stand in for what the environment does not set, on loopback only: a server
   * that others can reach is not to run on a secret that nobody chose.
   */
  generated?: Readonly<Partial<Record<(typeof SECRETS)[number], string>>>;
}

/**
 * Reads the bridge's configuration.
 * @throws {ConfigurationError} every problem at once, each beginning with the variable's name
 */
export function readBridgeConfig({ env, readFile, generated = {} }: BridgeConfigSource) {
  const named = withAliases(env);
  const isPublic = !isLoopbackHost(named.HOST || "127.0.0.1");
  if (!isPublic) {
    for (const name of SECRETS) {
      if (!named[name] && !named[`${name}_FILE`]) named[name] = generated[name];
    }
  }
  const problems = missingSecrets(named, isPublic);
  let read: z.output<ReturnType<typeof bridgeSchema>> | undefined;
  try {
    const root = named.TOPIC_ROOT || DEFAULT_TOPIC_ROOT;
    read = readEnvironment(bridgeSchema(root, readFile), { env: named, readFile, secrets: SECRETS });
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    problems.push(...error.problems);
  }
  if (read?.JWT_SECRET === undefined || problems.length > 0) throw new ConfigurationError(problems);

  return {
    host: read.HOST,
    /** Nobody but this machine can reach the server. */
    loopback: !isPublic,
    port: read.WS_PORT,
    dataPath: read.DATA_PATH,
    topicRoot: read.TOPIC_ROOT,
    /** The first signs, all verify. */
    jwtSecrets: read.JWT_SECRET,
    /** Whose tokens are taken beside our own; undefined when nobody's. */
    jwks: providerOf(read),
    /** What tokens of our secrets may name as `aud`; undefined when they must name nothing. */
    jwtAudience: read.JWT_AUDIENCE,
    operatorKey: read.OPERATOR_KEY,
    allowedOrigins: read.ALLOWED_ORIGINS,
    trustedProxies: read.TRUSTED_PROXIES,
    channels: read.CHANNELS_FILE,
    logLevel: read.LOG_LEVEL,
    /** The path of a file, or `stdout`. */
    auditLog: read.AUDIT_LOG ?? join(read.DATA_PATH, "audit.log"),
    maxAuditLogBytes: read.MAX_AUDIT_LOG_BYTES,
    maxPayloadBytes: read.MAX_PAYLOAD_BYTES,
    shutdownSpreadMs: read.SHUTDOWN_SPREAD_MS,
    http: {
      maxBodyBytes: read.MAX_PAYLOAD_BYTES,
      requestTimeoutMs: read.REQUEST_TIMEOUT_MS,
      maxRequestsPerMinute: read.MAX_REQUESTS_PER_MINUTE,
      maxRequestsPerSecond: read.MAX_REQUESTS_PER_SECOND,
      maxTokenRequestsPerMinute: read.MAX_TOKEN_REQUESTS_PER_MINUTE,
      maxBroadcastsPerMinute: read.MAX_BROADCASTS_PER_MINUTE,
      maxListedStateBytes: read.MAX_LISTED_STATE_BYTES,
      maxCommandsPerMinute: read.MAX_COMMANDS_PER_MINUTE,
      tokenTtlSeconds: read.TOKEN_TTL_SECONDS,
    },
    accounts: {
      accessTokenTtlSeconds: read.ACCESS_TOKEN_TTL_SECONDS,
      refreshTokenTtlSeconds: read.REFRESH_TOKEN_TTL_SECONDS,
      tokenTtlSeconds: read.TOKEN_TTL_SECONDS,
    },
    logins: {
      maxFailures: read.MAX_LOGIN_FAILURES,
      maxAddressFailures: read.MAX_LOGIN_FAILURES_PER_ADDRESS ?? 10 * read.MAX_LOGIN_FAILURES,
      windowMs: read.LOGIN_FAILURE_WINDOW_SECONDS * 1000,
    },
    sockets: {
      authTimeoutMs: read.AUTH_TIMEOUT_MS,
      pingIntervalMs: read.PING_INTERVAL_MS,
      maxConnections: read.MAX_CONNECTIONS,
      maxConnectionsPerUser: read.MAX_CONNECTIONS_PER_USER,
      maxConnectionsPerAddress: read.MAX_CONNECTIONS_PER_ADDRESS,
      maxUnauthenticated: read.MAX_UNAUTHENTICATED,
      maxUnauthenticatedPerAddress:
        read.MAX_UNAUTHENTICATED_PER_ADDRESS ?? Math.ceil(read.MAX_CONNECTIONS_PER_ADDRESS / 2),
      maxConnectsPerMinute: read.MAX_CONNECTS_PER_MINUTE,
      maxUserConnectsPerMinute: read.MAX_USER_CONNECTS_PER_MINUTE ?? 20 * read.MAX_CONNECTIONS_PER_USER,
      maxHttpConnectionsPerAddress: read.MAX_HTTP_CONNECTIONS_PER_ADDRESS ?? 10 * read.MAX_CONNECTIONS_PER_ADDRESS,
      maxQueuedBytes: read.MAX_QUEUED_BYTES,
      flushIntervalMs: read.FLUSH_INTERVAL_MS,
      drainTimeoutMs: read.DRAIN_TIMEOUT_MS,
      maxSubscriptions: read.MAX_SUBSCRIPTIONS,
      maxMessagesPerSecond: read.MAX_MESSAGES_PER_SECOND,
    },
    journal: {
      /** Whether an append waits for the disk. Off, what was acknowledged is lost when the machine (not the program) dies. */
      sync: read.JOURNAL_SYNC === "always",
      retentionEvents: read.RETENTION_EVENTS,
      retentionHours: read.RETENTION_HOURS,
      sharePercent: read.RETENTION_SHARE_PERCENT,
    },
    presence: { graceMs: read.PRESENCE_GRACE_MS, maxCameras: read.MAX_CAMERAS },
    linkGaps: { settleMs: read.LINK_GAP_SETTLE_SECONDS * 1000 },
    commands: {
      maxQueuedPerCamera: read.MAX_COMMANDS_PER_CAMERA,
      maxPending: read.MAX_PENDING_COMMANDS,
      maxPerMinute: read.MAX_COMMANDS_PER_MINUTE,
    },
    previews: {
      maxCameras: read.MAX_CAMERAS,
      keepMs: read.PREVIEW_HOURS * 3_600_000,
      maxPreviewsPerCamera: read.MAX_PREVIEWS_PER_CAMERA,
      maxBytesPerCamera: read.MAX_PREVIEW_BYTES_PER_CAMERA,
      maxPreviews: read.MAX_PREVIEWS,
      maxBytes: read.MAX_PREVIEW_BYTES,
    },
    alerts: {
      offlineMs: read.ALERT_OFFLINE_SECONDS * 1000,
      offlineMsOf: new Map(
        [...read.ALERT_OFFLINE_SECONDS_OF].map(([camera, seconds]) => [camera, seconds * 1000] as const),
      ),
      batteryPercent: read.ALERT_BATTERY_PERCENT,
      noCaptureMs: read.ALERT_NO_CAPTURE_SECONDS * 1000,
      diskPercent: read.ALERT_DISK_PERCENT,
      failuresPercent: read.ALERT_FAILURES_PERCENT,
      failuresOf: read.ALERT_FAILURES_OF,
      failuresMin: Math.min(read.ALERT_FAILURES_MIN, read.ALERT_FAILURES_OF),
      queuedJobs: read.ALERT_QUEUED_JOBS,
      workerSilentMs: read.ALERT_WORKER_SILENT_SECONDS * 1000,
    },
  };
}

/** Every variable of the bridge, with its default. A `MAX_…` of 0 means no limit. */
function bridgeSchema(topicRoot: string, readFile: EnvironmentSource["readFile"]) {
  return z.object({
    HOST: z
      .string()
      .regex(/^[^\s/]+$/, "must be an address to listen on, such as 127.0.0.1 or 0.0.0.0")
      .default("127.0.0.1"),
    WS_PORT: portVariable.default(8082),
    DATA_PATH: z.string().default("./data"),
    TOPIC_ROOT: z.string().superRefine(checkTopicRoot).default(DEFAULT_TOPIC_ROOT),
    /** A line each: the first signs, all verify, so that one can be replaced while its tokens live. */
    JWT_SECRET: z
      .string()
      .transform((text) => text.split(/\r?\n/).filter((line) => line !== ""))
      .refine((secrets) => secrets.length > 0 && secrets.every(({ length }) => length >= MIN_SECRET_LENGTH), {
        error: `must have at least ${MIN_SECRET_LENGTH} characters in each line`,
      })
      .optional(),
    /** Where an identity provider has its keys, and what its tokens must name. */
    JWKS_URL: z.string().superRefine(checkKeysUrl).optional(),
    JWT_ISSUER: z.string().optional(),
    JWT_AUDIENCE: z.string().optional(),
    OPERATOR_KEY: z
      .string()
      .min(MIN_OPERATOR_KEY_LENGTH, `must have at least ${MIN_OPERATOR_KEY_LENGTH} characters`)
      .regex(/^[!-~]*$/, "must be visible ASCII without blanks: it is sent in a header")
      .optional(),
    ALLOWED_ORIGINS: listVariable.transform(readOrigins).default([]),
    TRUSTED_PROXIES: listVariable.superRefine(checkProxies).default([]),
    CHANNELS_FILE: z
      .string()
      .transform((path, context) => readChannels(path, topicRoot, readFile, context))
      .default(new Map()),
    LOG_LEVEL: z
      .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"], {
        error: "must be one of trace, debug, info, warn, error, fatal, silent",
      })
      .default("info"),

    AUTH_TIMEOUT_MS: countVariable.min(1, "must be at least 1").default(10_000),
    PING_INTERVAL_MS: countVariable.min(1, "must be at least 1").default(25_000),
    MAX_CONNECTIONS: limitVariable.default(20_000),
    MAX_CONNECTIONS_PER_USER: limitVariable.default(5),
    MAX_CONNECTIONS_PER_ADDRESS: limitVariable.default(100),
    /** Of all dashboards, and of those from one address (default: half), those that have not shown a token yet. */
    MAX_UNAUTHENTICATED: limitVariable.default(2000),
    MAX_UNAUTHENTICATED_PER_ADDRESS: limitVariable.optional(),
    /** New dashboards from one address in a minute. */
    MAX_CONNECTS_PER_MINUTE: limitVariable.default(3000),
    /** Dashboards that one user opens in a minute (default: twenty times those that may be open). */
    MAX_USER_CONNECTS_PER_MINUTE: limitVariable.optional(),
    /** Connections of one address to the HTTP port that are no dashboards (default: ten times those that may be). */
    MAX_HTTP_CONNECTIONS_PER_ADDRESS: limitVariable.optional(),
    /** Channels one connection may be subscribed to. */
    MAX_SUBSCRIPTIONS: limitVariable.default(128),
    /** Frames one connection may send in a second. */
    MAX_MESSAGES_PER_SECOND: limitVariable.default(50),
    MAX_PAYLOAD_BYTES: limitVariable.default(262_144),
    MAX_QUEUED_BYTES: limitVariable.default(262_144),
    FLUSH_INTERVAL_MS: countVariable.default(10),
    /** A client that reads nothing for so long is closed with 4208. */
    DRAIN_TIMEOUT_MS: countVariable.min(1, "must be at least 1").default(30_000),

    RETENTION_EVENTS: countVariable.min(1, "must be at least 1").default(10_000),
    /** Of a channel that many speak in: who has more of its events is kept apart, and pushes out nobody else's. */
    RETENTION_SHARE_PERCENT: countVariable.min(1, "must be at least 1").max(100, "must be at most 100").default(10),
    RETENTION_HOURS: z.coerce
      .number("must be a number of hours")
      .positive("must be a number of hours above 0")
      .default(24),
    JOURNAL_SYNC: z.enum(["always", "off"], { error: "must be always or off" }).default("always"),

    /** A request that is not complete after so long is cut. */
    REQUEST_TIMEOUT_MS: countVariable.min(1, "must be at least 1").default(10_000),
    /** Requests by one address, of all kinds together; those beyond, after a burst, wait their turn. */
    MAX_REQUESTS_PER_SECOND: limitVariable.default(200),
    /** Requests by one address in a minute; each of the next three is counted for itself. */
    MAX_REQUESTS_PER_MINUTE: limitVariable.default(3000),
    MAX_TOKEN_REQUESTS_PER_MINUTE: limitVariable.default(60),
    MAX_BROADCASTS_PER_MINUTE: limitVariable.default(6000),
    /** Commands of one user in a minute, by HTTP, WebSocket and MQTT together; by HTTP of one address, too. */
    MAX_COMMANDS_PER_MINUTE: limitVariable.default(60),
    /** A state of a camera that is larger is not in `GET /cameras`, but in `GET /cameras/{id}` alone. */
    MAX_LISTED_STATE_BYTES: limitVariable.default(16_384),
    /** Life of a token minted with the operator key, unless the request names a shorter one. */
    TOKEN_TTL_SECONDS: countVariable.min(1, "must be at least 1").default(86_400),

    /** Life of a token of an account, and of the refresh token that the next one is had with. */
    ACCESS_TOKEN_TTL_SECONDS: countVariable.min(1, "must be at least 1").default(900),
    REFRESH_TOKEN_TTL_SECONDS: countVariable.min(1, "must be at least 1").default(604_800),
    /** Failed logins of one user id before it waits until the window is over. */
    MAX_LOGIN_FAILURES: limitVariable.default(10),
    /** Failed logins from one address before users wait who have not logged in from there (default: ten times as many). */
    MAX_LOGIN_FAILURES_PER_ADDRESS: limitVariable.optional(),
    LOGIN_FAILURE_WINDOW_SECONDS: countVariable.min(1, "must be at least 1").default(900),
    /**
     * Who did what: a file, or `stdout`. Commands and broadcasts have a file of their own beside it, named `…-traffic`.
     * Default: audit.log below DATA_PATH.
     */
    AUDIT_LOG: z.string().optional(),
    /** Of each such file and of the one before it. */
    MAX_AUDIT_LOG_BYTES: limitVariable.default(67_108_864),

    /** How long closing the dashboards' connections is spread over when the server stops, milliseconds. */
    SHUTDOWN_SPREAD_MS: countVariable.max(60_000, "must be at most 60000").default(1_000),

    /** How long a camera's link may be gone before the camera is called offline. */
    PRESENCE_GRACE_MS: countVariable.default(30_000),
    LINK_GAP_SETTLE_SECONDS: countVariable.min(1, "must be at least 1").default(120),
    /** Cameras whose presence is followed, and whose newest picture is kept. */
    MAX_CAMERAS: limitVariable.default(10_000),
    /** How long pictures are kept; the newest of each camera stays. */
    PREVIEW_HOURS: z.coerce
      .number("must be a number of hours")
      .positive("must be a number of hours above 0")
      .default(48),
    /** Pictures of one camera and of all; beyond, the oldest go. */
    MAX_PREVIEWS_PER_CAMERA: limitVariable.default(6_000),
    MAX_PREVIEW_BYTES_PER_CAMERA: limitVariable.default(268_435_456),
    MAX_PREVIEWS: limitVariable.default(100_000),
    MAX_PREVIEW_BYTES: limitVariable.default(2_147_483_648),

    /**
     * An alert: a camera is offline, or has not woken as announced, for longer than so many seconds; 0 for none. Longer than
     * a camera's longest wait between two attempts to connect (`RECONNECT_MAX_S`, 300), or a restart of the server raises it.
     */
    ALERT_OFFLINE_SECONDS: countVariable.default(600),
    /** The same of single cameras: `north=60,attic=0`. */
    ALERT_OFFLINE_SECONDS_OF: listVariable.transform(readSecondsOf).default(new Map()),
    /** An alert: a camera on a battery or on the sun says that less than so many percent are left; 0 for none. */
    ALERT_BATTERY_PERCENT: countVariable.max(100, "must be at most 100").default(20),
    /** Without a picture for so long while the schedule asks for some, or for twice the interval if that is longer. */
    ALERT_NO_CAPTURE_SECONDS: countVariable.min(1, "must be at least 1").default(300),
    ALERT_DISK_PERCENT: countVariable.max(100, "must be at most 100").default(80),
    /** Of the last `ALERT_FAILURES_OF` captures, once there are `ALERT_FAILURES_MIN`. */
    ALERT_FAILURES_PERCENT: countVariable.max(100, "must be at most 100").default(10),
    ALERT_FAILURES_OF: countVariable.min(1, "must be at least 1").max(1_000, "must be at most 1000").default(20),
    ALERT_FAILURES_MIN: countVariable.min(1, "must be at least 1").default(10),
    /** Jobs that wait at one processing service. */
    ALERT_QUEUED_JOBS: countVariable.default(10),
    /** A processing service that is gone, or silent about the jobs it works on. */
    ALERT_WORKER_SILENT_SECONDS: countVariable.min(1, "must be at least 1").default(300),

    /** Commands that wait for one camera behind the one in flight. */
    MAX_COMMANDS_PER_CAMERA: limitVariable.default(16),
    /** Commands that wait or are in flight, all cameras together. */
    MAX_PENDING_COMMANDS: limitVariable.default(10_000),
  });
}

function withAliases(env: EnvironmentSource["env"]): Record<string, string | undefined> {
  const named = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, plainValue(value)]));
  const alias = JWT_SECRET_ALIASES.find((name) => env[name] || env[`${name}_FILE`]);
  if (alias !== undefined && !env.JWT_SECRET && !env.JWT_SECRET_FILE) {
    named.JWT_SECRET = env[alias];
    named.JWT_SECRET_FILE = env[`${alias}_FILE`];
  }
  return named;
}

function missingSecrets(env: EnvironmentSource["env"], isPublic: boolean): string[] {
  const why = isPublic ? ` because HOST ${env.HOST} can be reached by others` : "";
  const missing = (name: string) => !env[name] && !env[`${name}_FILE`];
  const problems: string[] = [];
  if (missing("JWT_SECRET")) {
    problems.push(
      `JWT_SECRET: must be set${why}: at least ${MIN_SECRET_LENGTH} characters, such as openssl rand -hex 32 prints`,
    );
  }
  // Without the key a loopback server still mints for its own machine; a public one would mint for nobody.
  if (isPublic && missing("OPERATOR_KEY")) {
    problems.push(
      `OPERATOR_KEY: must be set${why}: at least ${MIN_OPERATOR_KEY_LENGTH} characters, such as openssl rand -hex 32 prints`,
    );
  }
  return problems;
}

function checkTopicRoot(root: string, context: z.RefinementCtx): void {
  const problem = topicProblem(root);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  else if (root.startsWith("$")) context.addIssue({ code: "custom", message: "must not begin with $" });
}

/** Whoever can change the keys on their way can sign for anybody. */
function checkKeysUrl(url: string, context: z.RefinementCtx): void {
  const { protocol, hostname } = URL.canParse(url) ? new URL(url) : { protocol: "", hostname: "" };
  if (protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname))) return;
  context.addIssue({ code: "custom", message: "must be an https: URL, such as https://id.example.org/jwks.json" });
}

function providerOf({ JWKS_URL, JWT_ISSUER, JWT_AUDIENCE }: z.output<ReturnType<typeof bridgeSchema>>) {
  if (JWKS_URL === undefined) return undefined;
  const missing = Object.entries({ JWT_ISSUER, JWT_AUDIENCE }).filter(([, value]) => !value);
  if (missing.length > 0)
    throw new ConfigurationError(missing.map(([name]) => `${name}: must be set with JWKS_URL, as its tokens name it`));
  return { jwksUrl: JWKS_URL, issuer: JWT_ISSUER ?? "", audience: JWT_AUDIENCE ?? "" };
}

function readOrigins(texts: string[], context: z.RefinementCtx): string[] {
  return texts.flatMap((text) => {
    const origin = normalOrigin(text);
    if (origin !== undefined) return [origin];
    context.addIssue({ code: "custom", message: `${quoted(text)} is no origin, such as https://sky.example.org` });
    return [];
  });
}

function readSecondsOf(pairs: string[], context: z.RefinementCtx): ReadonlyMap<string, number> {
  const read = new Map<string, number>();
  for (const pair of pairs) {
    const [, camera = "", seconds] = /^([^=]+)=(\d{1,9})$/.exec(pair) ?? [];
    if (isId(camera)) read.set(camera, Number(seconds));
    else
      context.addIssue({ code: "custom", message: `${quoted(pair)} is no camera and its seconds, such as north=60` });
  }
  return read;
}

function checkProxies(proxies: string[], context: z.RefinementCtx): void {
  for (const proxy of proxies) {
    const problem = proxyProblem(proxy);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  }
}

function readChannels(
  path: string,
  topicRoot: string,
  readFile: EnvironmentSource["readFile"],
  context: z.RefinementCtx,
): CustomChannels {
  const complain = (message: string) => context.addIssue({ code: "custom", message });
  let content: unknown;
  try {
    content = JSON.parse(withoutBom(readFile(path)));
  } catch (error) {
    complain(`cannot be read as JSON (${error instanceof Error ? error.message : String(error)})`);
    return z.NEVER;
  }
  const result = customChannelsSchema.safeParse(content);
  if (!result.success) {
    for (const issue of result.error.issues) complain(`at ${issue.path.join(".") || "its top"}: ${issue.message}`);
    return z.NEVER;
  }
  const channels = new Map(Object.entries(result.data));
  for (const [name, { filters }] of channels) {
    for (const filter of filters) {
      if (filter !== topicRoot && !filter.startsWith(`${topicRoot}/`))
        complain(`at ${name}: the filter "${filter}" is not below TOPIC_ROOT ${topicRoot}, where every event is`);
    }
  }
  return channels;
}
