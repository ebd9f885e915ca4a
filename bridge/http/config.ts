import type { z } from "zod";
import { proxyProblem } from "../../platform/client-addresses.ts";
import {
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
  ),
  MAX_BROADCASTS_PER_MINUTE: setting("HTTP broadcasts from one address in a minute.", limitVariable.default(6000)),
  MAX_LISTED_STATE_BYTES: setting(
    "A larger state of a camera is not in `GET /cameras`, only in `GET /cameras/{id}`.",
    limitVariable.default(16_384),
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
  };
}

function checkProxies(proxies: string[], context: z.RefinementCtx): void {
  for (const proxy of proxies) {
    const problem = proxyProblem(proxy);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  }
}
