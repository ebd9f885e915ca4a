import { z } from "zod";
import { isLoopbackHost, proxyProblem } from "../../platform/client-addresses.ts";
import {
  ConfigurationError,
  limitVariable,
  listVariable,
  portVariable,
  positiveVariable,
  setting,
  type ValuesOf,
} from "../../platform/config.ts";
import type { serverSettings } from "../../platform/server-settings.ts";
import type { authSettings } from "../auth/config.ts";
import type { commandSettings } from "../commands/config.ts";

const MIN_METRICS_TOKEN_LENGTH = 16;

export const httpSettings = {
  WS_PORT: setting("Port of the dashboard page, WebSocket and HTTP.", portVariable.default(8082)),
  TRUSTED_PROXIES: setting(
    "Reverse proxies whose `X-Forwarded-For`, `-Host` and `-Proto` are trusted: addresses or networks, separated by " +
      "commas, such as `127.0.0.1` or `10.0.0.0/8`. Requests through them always need a token.",
    listVariable.superRefine(checkProxies).default([]),
  ),
  REQUEST_TIMEOUT_MS: setting("Time within which an HTTP request must be complete.", positiveVariable.default(10_000)),
  MAX_REQUESTS_PER_SECOND: setting(
    "HTTP requests from one address in a second, after 40 at once. Further requests are delayed, not refused.",
    limitVariable.default(200),
  ),
  MAX_REQUESTS_PER_MINUTE: setting(
    "HTTP requests from one address in a minute, without the kinds that the next two settings and " +
      "`MAX_COMMANDS_PER_MINUTE` count.",
    limitVariable.default(3000),
  ),
  MAX_TOKEN_REQUESTS_PER_MINUTE: setting(
    "HTTP requests for tokens, logins and changes of users from one address in a minute, each route by itself.",
    limitVariable.default(60),
    { mustAgree: true },
  ),
  MAX_BROADCASTS_PER_MINUTE: setting("HTTP broadcasts from one address in a minute.", limitVariable.default(6000), {
    mustAgree: true,
  }),
  MAX_LISTED_STATE_BYTES: setting(
    "A larger state of a camera is not in `GET /cameras`, only in `GET /cameras/{id}`.",
    limitVariable.default(16_384),
  ),
  METRICS_TOKEN: setting(
    `A bearer token that may read \`/metrics\` and nothing else, for Prometheus. At least ${MIN_METRICS_TOKEN_LENGTH} characters.`,
    z
      .string()
      .min(MIN_METRICS_TOKEN_LENGTH, `must have at least ${MIN_METRICS_TOKEN_LENGTH} characters`)
      .regex(/^[!-~]*$/, "must be visible ASCII without blanks: it is sent in a header")
      .optional(),
    { isSecret: true, defaultText: "none: `/metrics` needs `system:read`" },
  ),
  METRICS_PORT: setting(
    "A further port that answers `/metrics` and nothing else. It needs a token only if `METRICS_TOKEN` is set.",
    portVariable.optional(),
    { defaultText: "none" },
  ),
  METRICS_HOST: setting(
    "Address of `METRICS_PORT`. On any address other than loopback, `METRICS_TOKEN` must be set.",
    z.string().default("127.0.0.1"),
  ),
};

export type HttpConfig = ReturnType<typeof httpConfig>;

export function httpConfig(
  read: ValuesOf<typeof httpSettings & typeof authSettings & typeof commandSettings & typeof serverSettings>,
) {
  return {
    maxBodyBytes: read.MAX_PAYLOAD_BYTES,
    requestTimeoutMs: read.REQUEST_TIMEOUT_MS,
    maxRequestsPerMinute: read.MAX_REQUESTS_PER_MINUTE,
    maxRequestsPerSecond: read.MAX_REQUESTS_PER_SECOND,
    maxTokenRequestsPerMinute: read.MAX_TOKEN_REQUESTS_PER_MINUTE,
    maxBroadcastsPerMinute: read.MAX_BROADCASTS_PER_MINUTE,
    maxListedStateBytes: read.MAX_LISTED_STATE_BYTES,
    maxCommandsPerMinute: read.MAX_COMMANDS_PER_MINUTE,
    tokenTtlSeconds: read.TOKEN_TTL_SECONDS,
    metricsToken: read.METRICS_TOKEN,
    metricsAddress: metricsAddress(read),
  };
}

/** @throws {ConfigurationError} other machines could read the metrics without a token */
function metricsAddress(read: ValuesOf<typeof httpSettings>): { host: string; port: number } | undefined {
  const { METRICS_PORT: port, METRICS_HOST: host, METRICS_TOKEN: token } = read;
  if (port === undefined) return undefined;
  if (token === undefined && !isLoopbackHost(host))
    throw new ConfigurationError([
      "METRICS_TOKEN: must be set when METRICS_HOST can be reached by others, such as openssl rand -hex 32 prints",
    ]);
  return { host, port };
}

function checkProxies(proxies: string[], context: z.RefinementCtx): void {
  for (const proxy of proxies) {
    const problem = proxyProblem(proxy);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  }
}
