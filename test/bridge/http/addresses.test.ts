import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clientAddresses, isLoopbackHost, proxyProblem } from "../../../platform/client-addresses.ts";

/** A real server that responds with the client address that it determines. */
let trusted: string[] = [];
const server = createServer((request: IncomingMessage, response) => {
  response.end(clientAddresses(trusted).of(request));
});
let url: string;

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

async function seen(proxies: string[], forwardedFor?: string): Promise<string> {
  trusted = proxies;
  const headers: Record<string, string> = forwardedFor === undefined ? {} : { "x-forwarded-for": forwardedFor };
  return (await fetch(url, { headers })).text();
}

describe("a client's address", () => {
  it.each<[string, string[], string | undefined, string]>([
    ["is the peer's", [], undefined, "127.0.0.1"],
    ["is the peer's, whatever the peer claims", [], "6.6.6.6", "127.0.0.1"],
    ["is the peer's when another proxy is trusted", ["10.0.0.0/8"], "6.6.6.6", "127.0.0.1"],
    ["is the address that a trusted proxy sends", ["127.0.0.1"], "203.0.113.7", "203.0.113.7"],
    ["is the last address that is not a trusted proxy", ["127.0.0.0/8"], "6.6.6.6, 203.0.113.7", "203.0.113.7"],
    ["is behind two trusted proxies", ["127.0.0.1", "10.0.0.0/8"], "6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"],
    ["is the proxy's if the header is invalid", ["127.0.0.1"], "unknown", "127.0.0.1"],
    ["is the proxy's without a header", ["127.0.0.1"], undefined, "127.0.0.1"],
    ["may be IPv6", ["127.0.0.1"], "2001:db8::1", "2001:db8::1"],
    ["may be IPv4 written as IPv6", ["127.0.0.1"], "::ffff:203.0.113.7", "203.0.113.7"],
    ["may have a port", ["127.0.0.1"], "203.0.113.7:4711", "203.0.113.7"],
    ["may be IPv6 with a port", ["127.0.0.1"], "[2001:db8::1]:4711", "2001:db8::1"],
    ["is the proxy's if the header has only a port", ["127.0.0.1"], "[]:4711", "127.0.0.1"],
    ["is behind a trusted IPv6 proxy", ["127.0.0.1", "2001:db8::/32"], "203.0.113.7, 2001:db8::9", "203.0.113.7"],
  ])("%s", async (_name, proxies, forwardedFor, expected) => {
    expect(await seen(proxies, forwardedFor)).toBe(expected);
  });
});

describe("TRUSTED_PROXIES", () => {
  it.each(["10.0.0.5", "10.0.0.0/8", "::1", "2001:db8::/128", "0.0.0.0/0"])("accepts %s", (entry) => {
    expect(proxyProblem(entry)).toBeUndefined();
  });
  it.each(["proxy", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0", "", "::1/129", "10.0.0.0/-1"])(
    "refuses %j",
    (entry) => {
      expect(proxyProblem(entry)).toBeDefined();
      expect(() => clientAddresses([entry])).toThrow(RangeError);
    },
  );
});

describe("loopback", () => {
  it.each(["127.0.0.1", "127.1.2.3", "::1", "localhost", "::ffff:127.0.0.1"])("is %s", (host) => {
    expect(isLoopbackHost(host)).toBe(true);
  });
  it.each(["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org", ""])("is not %j", (host) => {
    expect(isLoopbackHost(host)).toBe(false);
  });
});
