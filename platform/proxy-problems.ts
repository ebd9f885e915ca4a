import type { IncomingMessage } from "node:http";
import type { ProxyProblem } from "../contract/setup.ts";
import { plainAddress } from "./addresses.ts";
import type { ClientAddresses } from "./client-addresses.ts";
import { normalOrigin, type Origins } from "./origins.ts";
import { isForwarded } from "./untrusted-proxies.ts";

export interface FoundProblem {
  problem: ProxyProblem;
  /** What is wrong, and what an operator can do. */
  message: string;
}

interface ProxyCheck {
  /** The origin of the page, as the browser knows it. */
  origin: string;
  /** Whether the page could not open a WebSocket. */
  webSocketFailed: boolean;
  /** Whether the messages may name the address of the proxy. */
  showsAddress: boolean;
}

interface ProxyCheckOptions {
  addresses: Pick<ClientAddresses, "trusts">;
  origins: Pick<Origins, "allowsPage" | "targetOf">;
}

/** Finds what is wrong with the proxy between a page and this server, by a request of the page. */
export function findProxyProblems(
  { origin, webSocketFailed, showsAddress }: ProxyCheck,
  request: IncomingMessage,
  { addresses, origins }: ProxyCheckOptions,
): FoundProblem[] {
  const found: FoundProblem[] = [];
  const peer = plainAddress(request.socket.remoteAddress ?? "");
  if (isForwarded(request) && !addresses.trusts(peer)) {
    const address = showsAddress ? peer : "the proxy's address, which the log names";
    found.push({
      problem: "untrusted_proxy",
      message: `A proxy forwards the requests, and the server does not trust it. So all visitors share the limits of one address. Set TRUSTED_PROXIES=${address}, and start the server again`,
    });
  }
  if (request.httpVersion === "1.0")
    found.push({
      problem: "http_1_0",
      message:
        "The proxy speaks HTTP/1.0 with the server, so no WebSocket can be opened. For nginx, set: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
    });
  const refusal = originProblem(origin, request, origins);
  if (refusal !== undefined) found.push(refusal);
  if (webSocketFailed && found.every(({ problem }) => problem === "untrusted_proxy"))
    found.push({
      problem: "websocket_blocked",
      message:
        "Requests arrive at the server, and WebSockets do not. The proxy must pass the headers Upgrade and Connection. For nginx, set: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
    });
  return found;
}

function originProblem(
  origin: string,
  request: IncomingMessage,
  origins: ProxyCheckOptions["origins"],
): FoundProblem | undefined {
  const page = normalOrigin(origin);
  if (page === undefined || origins.allowsPage(page, request)) return undefined;
  const { host = "", scheme } = origins.targetOf(request);
  const asked = new URL(page);
  if (scheme !== undefined && normalOrigin(`${asked.protocol}//${host}`) === page)
    return {
      problem: "scheme_changed",
      message: `The browser uses ${asked.protocol}//, and the proxy says ${scheme}//. So the server refuses the page. The last proxy must pass X-Forwarded-Proto as it came. For nginx, set: proxy_set_header X-Forwarded-Proto $scheme;`,
    };
  return {
    problem: "host_changed",
    message: `The browser asks for ${asked.host}, and the server gets ${host.slice(0, 255)}. So the server refuses the page. For nginx, set: proxy_set_header Host $http_host; or set ALLOWED_ORIGINS=${page}`,
  };
}
