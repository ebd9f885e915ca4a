import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { plainAddress } from "./addresses.ts";

export interface ClientAddresses {
  /** The nearest address that is not a trusted proxy. */
  of(request: IncomingMessage): string;
  /** Whether this is the address of a trusted proxy. */
  trusts(address: string): boolean;
}

/** Explains what is wrong with an entry of `TRUSTED_PROXIES`; undefined for a valid entry. */
export function proxyProblem(entry: string): string | undefined {
  const [address = "", prefix, ...rest] = entry.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return `"${entry}" is not an address or network, such as 10.0.0.5 or 10.0.0.0/8`;
  const bits = family === 4 ? 32 : 128;
  if (prefix !== undefined && !(/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits))
    return `"${entry}" has a prefix that is not from 0 to ${bits}`;
  return undefined;
}

/**
 * Reads `X-Forwarded-For` from the right up to the first address that is not trusted: a client can send made-up values.
 * @param trustedProxies addresses and networks, such as `10.0.0.0/8`
 */
export function clientAddresses(trustedProxies: readonly string[]): ClientAddresses {
  const trusted = new BlockList();
  for (const entry of trustedProxies) {
    const problem = proxyProblem(entry);
    if (problem !== undefined) throw new RangeError(problem);
    const [address = "", prefix] = entry.split("/");
    const type = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (prefix === undefined) trusted.addAddress(address, type);
    else trusted.addSubnet(address, Number(prefix), type);
  }
  const trusts = (address: string) => trusted.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");

  return {
    trusts,
    of(request) {
      let address = plainAddress(request.socket.remoteAddress ?? "");
      const header = request.headers["x-forwarded-for"];
      const hops = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",");
      while (address !== "" && trusts(address)) {
        const next = plainAddress(withoutPort(hops.pop()?.trim() ?? ""));
        if (isIP(next) === 0) break;
        address = next;
      }
      return address;
    },
  };
}

/** Removes a port: `203.0.113.7:4711`, `[2001:db8::1]:4711`. */
function withoutPort(hop: string): string {
  return hop.replace(/^\[([^\]]*)\](?::\d+)?$/, "$1").replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, "$1");
}

export function isLoopbackAddress(address: string): boolean {
  const bare = plainAddress(address);
  return bare === "::1" || (isIP(bare) === 4 && bare.startsWith("127."));
}

/** Whether a server on this `HOST` can be reached only from its own machine. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || isLoopbackAddress(host);
}
