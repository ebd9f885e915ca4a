/** What a new server may lack. */
export const SETUP_NEEDS = ["admin", "camera"] as const;
export type SetupNeed = (typeof SETUP_NEEDS)[number];

/**
 * What may be wrong between a browser and the server, as `GET /setup/proxy` reports it.
 *
 * - `untrusted_proxy`: a proxy forwards the request, and `TRUSTED_PROXIES` does not name the proxy
 * - `host_changed`: the server gets another host than the browser asked for, so it refuses the page's WebSocket
 * - `scheme_changed`: the proxy names another scheme than the browser used, so the server refuses the page's WebSocket
 * - `http_1_0`: the proxy speaks HTTP/1.0, over which no WebSocket opens
 * - `websocket_blocked`: requests arrive, and WebSockets do not
 */
export const PROXY_PROBLEMS = [
  "untrusted_proxy",
  "host_changed",
  "scheme_changed",
  "http_1_0",
  "websocket_blocked",
] as const;
export type ProxyProblem = (typeof PROXY_PROBLEMS)[number];
