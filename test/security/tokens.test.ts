import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { TestClient } from "../bridge/websocket/client.ts";
import { forge, goodClaims, SECRET, seconds } from "./forged-tokens.ts";

const ISSUER = "https://id.example.org/";
const AUDIENCE = "skylapse";
/** The paths that were requested from the provider. Only a forged header can cause a path other than `/keys`. */
const asked: string[] = [];
let provider: Server;
let bridge: TestBridge;
let keys: { privateKey: CryptoKey; publicKey: CryptoKey };
let attacker: { privateKey: CryptoKey; publicKey: CryptoKey };
let publicPem: string;
let url: string;

beforeAll(async () => {
  [keys, attacker] = await Promise.all([newKeys(), newKeys()]);
  publicPem = await exportSPKI(keys.publicKey);
  const published = JSON.stringify({
    keys: [{ ...(await exportJWK(keys.publicKey)), kid: "one", alg: "RS256", use: "sig" }],
  });
  const others = JSON.stringify({ keys: [{ ...(await exportJWK(attacker.publicKey)), kid: "one", alg: "RS256" }] });
  provider = createServer((request, response) => {
    asked.push(String(request.url));
    response.setHeader("content-type", "application/json").end(request.url === "/keys" ? published : others);
  });
  provider.listen(0, "127.0.0.1");
  await once(provider, "listening");
  const address = provider.address();
  url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  bridge = await startTestBridge({
    env: {
      ...{ JWT_SECRET: SECRET, JWKS_URL: `${url}/keys`, JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE },
      ...{
        MAX_REQUESTS_PER_MINUTE: "0",
        MAX_REQUESTS_PER_SECOND: "0",
        MAX_CONNECTIONS_PER_ADDRESS: "0",
        MAX_CONNECTIONS_PER_USER: "0",
      },
    },
  });
});
afterAll(async () => {
  await bridge.stop();
  provider.closeAllConnections();
  provider.close();
});

const newKeys = () => generateKeyPair("RS256", { extractable: true });

/** @returns the answers to a token: the HTTP status, and the WebSocket close code (0 when the socket stays open) */
async function answers(token: string): Promise<[status: number, closeCode: number]> {
  const { status } = await bridge.call("/users", { token });
  const client = await new TestClient(`ws://127.0.0.1:${bridge.port}/ws`).opened();
  client.send({ type: "auth", token });
  const welcomed = client.next("auth_success").then(
    () => 0,
    () => -1,
  );
  const code = await Promise.race([welcomed, client.closed.then((closed) => closed.code)]);
  return [status, code === -1 ? (await client.closed).code : code];
}

interface Provided {
  header?: Record<string, unknown>;
  claims?: Record<string, unknown>;
  key?: CryptoKey;
}

/** A token of the provider, or a forgery of one. */
function provided({ header = {}, claims = {}, key = keys.privateKey }: Provided = {}): Promise<string> {
  const good = {
    sub: "mallory",
    permissions: ["admin"],
    iss: ISSUER,
    aud: AUDIENCE,
    iat: seconds() - 1,
    exp: seconds() + 600,
  };
  return new SignJWT({ ...good, ...claims }).setProtectedHeader({ alg: "RS256", kid: "one", ...header }).sign(key);
}

/** Changes the claims of a token and keeps its signature. */
function withClaims(token: string, claims: object): string {
  return token
    .split(".")
    .with(1, Buffer.from(JSON.stringify(claims)).toString("base64url"))
    .join(".");
}

describe("a valid token", () => {
  it.each<[string, () => string | Promise<string>]>([
    ["signed with our secret", () => forge()],
    [
      "signed with our secret, from a clock that is 50 s ahead,",
      () => forge({ claims: { ...goodClaims(), iat: seconds() + 50 } }),
    ],
    ["of the provider", () => provided()],
  ])("%s is accepted over HTTP and WebSocket", async (_, token) => {
    expect(await answers(await token())).toEqual([200, 0]);
  });
});

describe("HTTP answers 401, and a WebSocket closes with 4002, for a token", () => {
  const none = (alg: unknown) => forge({ header: { alg } }).replace(/[^.]+$/, "");
  const claims = (more: object, less: string[] = []) =>
    forge({
      claims: Object.fromEntries(Object.entries({ ...goodClaims(), ...more }).filter(([name]) => !less.includes(name))),
    });

  it.each<readonly [string, () => string | Promise<string>]>([
    ...["none", "None", "NONE", "nOnE", "none ", "", " none"].map(
      (alg) => [`whose algorithm is ${JSON.stringify(alg)}, without a signature`, () => none(alg)] as const,
    ),
    ...[null, 0, [], ["none"], ["HS256"], {}, true].map(
      (alg) => [`whose algorithm is ${JSON.stringify(alg)}`, () => forge({ header: { alg } })] as const,
    ),
    ["whose algorithm is none, with a valid signature", () => forge({ header: { alg: "none" } })],
    ["whose header names no algorithm", () => forge({ header: '{"typ":"JWT"}' })],
    ["whose header is not an object", () => forge({ header: "[]" })],
    ["whose header is null", () => forge({ header: "null" })],
    ["whose header inherits its algorithm", () => forge({ header: '{"__proto__":{"alg":"HS256"}}' })],
    ["signed by HS384 with the right secret", () => forge({ header: { alg: "HS384" }, hash: "sha384" })],
    ["signed by HS512 with the right secret", () => forge({ header: { alg: "HS512" }, hash: "sha512" })],
    ["that names HS256 in small letters", () => forge({ header: { alg: "hs256" } })],
    ["that names ES256 and is signed with our secret", () => forge({ header: { alg: "ES256" } })],
    ["that names RS256 and is signed with our secret", () => forge({ header: { alg: "RS256", kid: "one" } })],
    ["signed with the provider's public key as secret", () => forge({ header: { kid: "one" }, secret: publicPem })],
    ["signed with the provider's public key without its last line end", () => forge({ secret: publicPem.trim() })],
    ["signed with the empty secret", () => forge({ secret: "" })],
    ["signed with the beginning of our secret", () => forge({ secret: SECRET.slice(0, 32) })],
    ["signed with our secret and a line end", () => forge({ secret: `${SECRET}\n` })],

    ["without its signature", () => forge().replace(/[^.]+$/, "")],
    ["with half of its signature", () => forge().slice(0, -20)],
    ["with a fourth part", () => `${forge()}.e30`],
    [
      "whose claims were changed",
      () => withClaims(forge({ claims: { ...goodClaims(), permissions: [] } }), goodClaims()),
    ],
    ["whose signature is padded", () => `${forge()}=`],
    ["in quotes", () => `"${forge()}"`],
    ["in JSON", () => JSON.stringify({ payload: forge().split(".")[1], signature: forge().split(".")[2] })],
    ["in the form of an encrypted token", () => "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA"],

    ["without exp", () => claims({}, ["exp"])],
    ["without iat", () => claims({}, ["iat"])],
    ["without user_id and sub", () => claims({}, ["user_id"])],
    ["without permissions", () => claims({}, ["permissions"])],
    ["that expired a second ago", () => claims({ iat: seconds() - 10, exp: seconds() - 1 })],
    ["whose exp is a string", () => claims({ exp: String(seconds() + 600) })],
    [
      "whose exp is infinite",
      () => forge({ claims: JSON.stringify(goodClaims()).replace(/"exp":[\d.]+/, '"exp":1e400') }),
    ],
    ["whose exp is negative", () => claims({ exp: -1 })],
    ["whose exp is null", () => claims({ exp: null })],
    ["issued 70 s in the future", () => claims({ iat: seconds() + 70 })],
    ["valid from 70 s in the future", () => claims({ nbf: seconds() + 70 })],
    ["whose nbf is a string", () => claims({ nbf: "yesterday" })],
    ["that expires before it is issued", () => claims({ iat: seconds() + 40, exp: seconds() + 30 })],
    ["whose user is an object", () => claims({ user_id: { toString: "alice" } })],
    ["whose user is a list", () => claims({ user_id: ["alice"] })],
    ["whose user is empty", () => claims({ user_id: "" })],
    ["with two users", () => claims({ sub: "alice" })],
    ["whose permissions are a string", () => claims({ permissions: "admin" })],
    ["whose permissions are an object", () => claims({ permissions: { 0: "admin", length: 1 } })],
    ["whose permissions contain an object", () => claims({ permissions: ["admin", { toString: "x" }] })],
    ["whose permissions contain a list", () => claims({ permissions: [["admin"]] })],
    [
      "whose permissions are inherited",
      () =>
        forge({
          claims: JSON.stringify({ ...goodClaims(), permissions: undefined }).replace(
            "{",
            '{"__proto__":{"permissions":["admin"]},',
          ),
        }),
    ],
    ["whose claims are a list", () => forge({ claims: "[]" })],
    ["whose claims are null", () => forge({ claims: "null" })],
    ["whose claims are not JSON", () => forge({ claims: "{" })],

    ["of the provider for another audience", () => provided({ claims: { aud: "elsewhere" } })],
    ["of the provider without an audience", () => provided({ claims: { aud: undefined } })],
    ["of the provider for an audience that begins like ours", () => provided({ claims: { aud: `${AUDIENCE}-test` } })],
    [
      "of another issuer, signed with the provider's key",
      () => provided({ claims: { iss: "https://id.example.com/" } }),
    ],
    ["of the provider without an issuer", () => provided({ claims: { iss: undefined } })],
    ["of the provider that expired a second ago", () => provided({ claims: { exp: seconds() - 1 } })],
    ["of the provider without exp", () => provided({ claims: { exp: undefined } })],
    [
      "of the provider that names PS256",
      async () => (await provided()).replace(/^[^.]+/, headerPart({ alg: "PS256", kid: "one" })),
    ],
    ["signed with an attacker's key under the provider's key id", () => provided({ key: attacker.privateKey })],
    [
      "signed with an attacker's key without a key id",
      () => provided({ key: attacker.privateKey, header: { kid: undefined } }),
    ],
  ])("%s", async (_, token) => {
    expect(await answers(await token())).toEqual([401, 4002]);
  });

  function headerPart(header: object): string {
    return Buffer.from(JSON.stringify(header)).toString("base64url");
  }
});

describe("a token whose header points to another key", () => {
  it.each<[string, (jwk: object) => Record<string, unknown>]>([
    ["with its key's address as jku", () => ({ jku: `${url}/jku` })],
    ["with its certificate's address as x5u", () => ({ x5u: `${url}/x5u` })],
    ["with its key as jwk", (jwk) => ({ jwk })],
    ["with a certificate as x5c", () => ({ x5c: ["MIIB"] })],
    ["with an address as kid", () => ({ kid: `${url}/kid` })],
    ["with a path as kid", () => ({ kid: "../../../../../../dev/null" })],
    ["with a file of this machine as kid", () => ({ kid: "file:///proc/self/environ" })],
    ["with an HTTP header in its kid", () => ({ kid: "one\r\nX-Injected: 1" })],
    ["with an unknown kid", () => ({ kid: "two" })],
    ["with an inherited kid", () => ({ kid: "__proto__" })],
    ["with a kid that is a number", () => ({ kid: 1 })],
    ["with a list of the right kid", () => ({ kid: ["one"] })],
    ["with a kid that is an object", () => ({ kid: { toString: "one" } })],
  ])("%s is rejected with 401 and 4002", async (_, header) => {
    const more = header(await exportJWK(attacker.publicKey));
    expect(await answers(await provided({ header: { kid: undefined, ...more }, key: attacker.privateKey }))).toEqual([
      401, 4002,
    ]);
    // A forged token with the same header, signed with the key that the header's file or address would provide.
    for (const secret of ["", publicPem]) expect(await answers(forge({ header: more, secret }))).toEqual([401, 4002]);
  });

  it("causes no request to the provider except a few for its keys", () => {
    expect(asked.filter((path) => path !== "/keys")).toEqual([]);
    expect(asked.length).toBeLessThan(5);
  });
});

it.each(["/cameras", "/nowhere"])(
  "the server applies the rate limit at %s before it asks the provider",
  async (path) => {
    const silent = await startTestBridge({
      env: {
        JWKS_URL: "http://127.0.0.1:1/keys",
        JWT_ISSUER: ISSUER,
        JWT_AUDIENCE: AUDIENCE,
        MAX_REQUESTS_PER_MINUTE: "3",
      },
    });
    const statuses = [];
    for (let count = 0; count < 5; count++)
      statuses.push((await silent.call(path, { token: await provided() })).status);
    await silent.stop();
    const answer = path === "/cameras" ? 503 : 404;
    expect(statuses).toEqual([answer, answer, answer, 429, 429]);
  },
);

it("the server rejects a token of more than 8 KiB without reading it", async () => {
  expect(await answers(forge({ claims: { ...goodClaims(), more: "x".repeat(8192) } }))).toEqual([401, 4003]);
});

it("the server uses the last of two claims with the same name, over HTTP and WebSocket", async () => {
  const twice = JSON.stringify(goodClaims())
    .replace("{", '{"permissions":["admin"],')
    .replace(/\["admin"\](?=[^[]*$)/, "[]");
  expect(twice).toMatch(/"permissions":\["admin"\].*"permissions":\[\]/);
  const token = forge({ claims: twice });
  expect((await bridge.call("/users", { token })).status).toBe(403);
  const client = await new TestClient(`ws://127.0.0.1:${bridge.port}/ws`).opened();
  client.send({ type: "auth", token });
  expect((await client.next("auth_success")).permissions).toEqual([]);
});
