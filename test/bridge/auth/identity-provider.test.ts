import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from "jose";
import jsonwebtoken from "jsonwebtoken";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createIdentityProvider } from "../../../bridge/auth/identity-provider.ts";
import { ProviderUnavailableError } from "../../../bridge/auth/provider.ts";
import { MAX_PROVIDER_ANSWER_BYTES } from "../../../bridge/auth/provider-fetch.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect, TestClient } from "../websocket/client.ts";

const ISSUER = "https://id.example.org/";
const AUDIENCE = "skylapse";

interface SigningKey {
  alg: string;
  kid: string;
  privateKey: CryptoKey;
  publicKey: CryptoKey;
}

let server: Server;
let published: JWK[];
/** The number of requests for the key set. */
let requests: number;
let url: string;
let bridge: TestBridge | undefined;

beforeEach(async () => {
  published = [];
  requests = 0;
  bridge = undefined;
  server = createServer((_request, response) => {
    requests++;
    response.setHeader("content-type", "application/json").end(JSON.stringify({ keys: published }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  url = `http://127.0.0.1:${address.port}/jwks.json`;
});
afterEach(async () => {
  await bridge?.stop();
  if (server.listening) await stopProvider();
});

async function stopProvider(): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}

/** Delays the provider's next response. @returns a function that waits for the request and sends the response */
function delayProvider(): () => Promise<void> {
  const request = new Promise<ServerResponse>((resolve) => {
    server.removeAllListeners("request").on("request", (_request, response) => resolve(response));
  });
  return async () => {
    (await request).setHeader("content-type", "application/json").end(JSON.stringify({ keys: published }));
  };
}

async function newKey(kid: string, alg = "RS256"): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  published.push({ ...(await exportJWK(publicKey)), kid, alg, use: "sig" });
  return { alg, kid, privateKey, publicKey };
}

interface TokenOptions {
  issuer?: string;
  audience?: string;
  expiresIn?: string;
  claims?: object;
}

function sign(
  { alg, kid, privateKey }: SigningKey,
  { issuer = ISSUER, audience = AUDIENCE, ...rest }: TokenOptions = {},
) {
  return new SignJWT({ sub: "alice", permissions: ["dashboard:read", "admin"], ...rest.claims })
    .setProtectedHeader({ alg, kid })
    .setIssuer(issuer)
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime(rest.expiresIn ?? "5m")
    .sign(privateKey);
}

async function start(): Promise<TestBridge> {
  bridge = await startTestBridge({ env: { JWKS_URL: url, JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE } });
  return bridge;
}

async function codeFor({ port }: TestBridge, token: string): Promise<number> {
  const client = await new TestClient(`ws://127.0.0.1:${port}/ws`).opened();
  client.send({ type: "auth", token });
  return (await client.closed).code;
}

async function identify({ authority }: TestBridge, token: string): Promise<string> {
  await authority.prepare(token);
  return authority.verify(token).userId;
}

describe("a token of the identity provider", () => {
  it("is refused when an admin has limited its user to groups of cameras, which the token does not name", async () => {
    const scene = await start();
    const { authority, port } = scene;
    const token = await sign(await newKey("one"));
    const client = await connect(`ws://127.0.0.1:${port}/ws`, token);
    await authority.cameraGroups.add({ id: "alps", name: "Alps", cameras: ["north"] });
    const powers = { permissions: ["dashboard:read"] };
    await authority.accounts.keepProvided({ userId: "idp:alice", name: undefined, powers });
    expect(await identify(scene, token)).toBe("idp:alice");
    await authority.accounts.update("idp:alice", { cameraGroups: ["alps"] });
    await expect(identify(scene, token)).rejects.toThrow("limited to groups of cameras");
    expect((await client.closed).code).toBe(4005);
  });

  it.each(["RS256", "PS384", "ES256"])(
    "is accepted by the WebSocket server and the HTTP server when signed with %s",
    async (alg) => {
      const token = await sign(await newKey("one", alg));
      const { port, call } = await start();
      const client = await connect(`ws://127.0.0.1:${port}/ws`, token);
      expect(await client.subscribe("dashboard")).toMatchObject({ success: true });
      expect((await call("/connections", { token })).status).toBe(200);
      expect(requests).toBe(1);
    },
  );

  it("renews the authentication of a socket", async () => {
    const key = await newKey("one");
    const { port } = await start();
    const client = await connect(`ws://127.0.0.1:${port}/ws`, await sign(key));
    client.send({ type: "auth", token: await sign(key, { expiresIn: "10m" }), id: 7 });
    expect(await client.next("auth_success", ({ id }) => id === 7)).toMatchObject({ user_id: "idp:alice" });
  });

  it.each<[string, TokenOptions]>([
    ["for another audience", { audience: "elsewhere" }],
    ["from another issuer", { issuer: "https://id.example.com/" }],
    ["expired", { expiresIn: "-5s" }],
    ["whose permissions are not a list", { claims: { permissions: "admin" } }],
  ])("is refused with 4002: %s", async (_what, options) => {
    const token = await sign(await newKey("one"), options);
    expect(await codeFor(await start(), token)).toBe(4002);
  });

  it("is refused when its key is unknown, and many such tokens cause one request to the provider", async () => {
    const [known, withdrawn] = [await newKey("one"), await newKey("two")];
    published.pop();
    const running = await start();
    expect(await codeFor(running, await sign(withdrawn))).toBe(4002);
    for (let time = 0; time < 20; time++) {
      const token = await sign({ ...known, kid: `unknown-${time}` });
      expect((await running.call("/connections", { token })).status).toBe(401);
    }
    expect(requests).toBe(1);
  });

  it("is refused when its RSA key is too short, although the provider publishes the key", async () => {
    const tokens: string[] = [];
    for (const modulusLength of [1024, 2048]) {
      const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength });
      published.push({ ...(await exportJWK(publicKey)), kid: String(modulusLength), alg: "RS256" });
      const [key, to] = [{ keyid: String(modulusLength) }, { issuer: ISSUER, audience: AUDIENCE }];
      const options = { algorithm: "RS256", subject: "alice", expiresIn: 60, allowInsecureKeySizes: true } as const;
      tokens.push(jsonwebtoken.sign({ permissions: ["dashboard:read"] }, privateKey, { ...options, ...key, ...to }));
    }
    const running = await start();
    const answers = await Promise.all(tokens.map((token) => running.call("/cameras", { token })));
    expect(answers.map(({ status }) => status)).toEqual([401, 200]);
  });

  it("is refused when it is signed by HS256 with the public key as the secret", async () => {
    const { publicKey } = await newKey("one");
    const forged = jsonwebtoken.sign({ permissions: ["admin"] }, await exportSPKI(publicKey), {
      ...{ algorithm: "HS256", keyid: "one", subject: "alice", issuer: ISSUER, audience: AUDIENCE, expiresIn: 60 },
    });
    const running = await start();
    expect(await codeFor(running, forged)).toBe(4002);
    expect((await running.call("/connections", { token: forged })).status).toBe(401);
  });

  it("never has the identity of a local user, whatever its `sub` is", async () => {
    const key = await newKey("one");
    const running = await start();
    const url = `ws://127.0.0.1:${running.port}/ws`;
    const local = await connect(url, running.mint("dashboard:read"));
    for (const sub of ["alice", "operator", "idp:alice"]) {
      const token = await sign(key, { claims: { sub, user_id: sub } });
      expect(await identify(running, token)).toBe(`idp:${sub}`);
    }
    const foreign = await connect(url, await sign(key));
    const { body } = await running.call("/connections", { token: OPERATOR_KEY });
    expect(body.connections.map(({ user_id }: { user_id: string }) => user_id).sort()).toEqual(["alice", "idp:alice"]);

    const revoke = (user_id: string) =>
      running.call("/auth/revoke", { method: "POST", token: OPERATOR_KEY, body: { user_id } });
    expect((await revoke("alice")).status).toBe(204);
    expect((await local.closed).code).toBe(4005);
    expect(foreign.ws.readyState).toBe(foreign.ws.OPEN);
    expect((await revoke("idp:alice")).status).toBe(204);
    expect((await foreign.closed).code).toBe(4005);
  });

  it("is refused when its user id is too long", async () => {
    const key = await newKey("one");
    const running = await start();
    const sub = (length: number) => sign(key, { claims: { sub: "a".repeat(length) } });
    expect(await identify(running, await sub(124))).toHaveLength(128);
    expect(await codeFor(running, await sub(125))).toBe(4002);
  });

  it("has a reserved user id prefix, which accounts and minted tokens cannot use", async () => {
    const running = await start();
    const post = (path: string, body: object) => running.call(path, { method: "POST", token: OPERATOR_KEY, body });
    for (const { status, body } of [
      await post("/users", { user_id: "idp:alice", password: "correct horse battery", role: "viewer" }),
      await post("/auth/token", { user_id: "idp:alice", permissions: ["admin"] }),
    ]) {
      expect([status, body.error.code]).toEqual([400, "bad_request"]);
      expect(JSON.stringify(body)).toContain("must not begin with idp:");
    }
    const { token } = running.tokens.mint({ userId: "idp:alice", permissions: ["admin"], ttlSeconds: 60 });
    expect((await running.call("/connections", { token })).status).toBe(401);
  });

  it("is not treated as a session of this server, whatever its `sid` is", async () => {
    const sid = `${"0".repeat(12)}-${"0".repeat(24)}`;
    const token = await sign(await newKey("one"), { claims: { sid } });
    const { port } = await start();
    await connect(`ws://127.0.0.1:${port}/ws`, token);
  });

  it("does not authenticate its client before the key arrives: the 16 KiB limit of unauthenticated clients still applies", async () => {
    const token = await sign(await newKey("one"));
    delayProvider();
    const { port } = await start();
    const stranger = await new TestClient(`ws://127.0.0.1:${port}/ws`).opened();
    stranger.send({ type: "auth", token });
    for (let frame = 0; frame < 3; frame++) stranger.send({ type: "x".repeat(8_000) });
    // If data is still in transit when the server closes the connection, TCP may reset it, and the close frame is lost.
    expect([4003, 1006]).toContain((await stranger.closed).code);
  });

  it("lets a client send requests before the key arrives, and the answers follow", async () => {
    const token = await sign(await newKey("one"));
    const sendKeys = delayProvider();
    const { port } = await start();
    const client = await new TestClient(`ws://127.0.0.1:${port}/ws`).opened();
    client.send({ type: "auth", token });
    client.send({ type: "subscribe", channel: "dashboard" });
    await sendKeys();
    expect(await client.next("subscription_result")).toMatchObject({ channel: "dashboard", success: true });
  });

  it("is answered with a code to retry while the provider is unreachable, and the server's own tokens still work", async () => {
    const token = await sign(await newKey("one"));
    await stopProvider();
    const running = await start();
    expect(await codeFor(running, token)).toBe(4201);
    expect(await running.call("/connections", { token })).toMatchObject({
      status: 503,
      body: { error: { code: "provider_unavailable" } },
    });
    await connect(`ws://127.0.0.1:${running.port}/ws`, running.mint("dashboard:read"));
  });
});

describe("the keys of the provider", () => {
  const open = () =>
    createIdentityProvider({
      ...{ jwksUrl: url, issuer: ISSUER, audience: AUDIENCE, coolDownMs: 0 },
      logger: pino({ level: "silent" }),
    });

  it("include new keys and exclude withdrawn keys", async () => {
    const first = await sign(await newKey("one"));
    const provider = open();
    await provider.prepare(first);
    expect(provider.keyOf(first)).toBeDefined();
    published = [];
    const second = await sign(await newKey("two"));
    await provider.prepare(second);
    expect(provider.keyOf(second)).toBeDefined();
    await provider.prepare(first);
    expect(provider.keyOf(first)).toBeUndefined();
  });

  it("are not requested for an invalid token, or for a token without a public-key algorithm", async () => {
    const provider = open();
    const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.e30.`;
    for (const token of [none, jsonwebtoken.sign({}, "s".repeat(32)), "nonsense", ""])
      expect(provider.prepare(token)).toBeUndefined();
    expect(requests).toBe(0);
  });

  it("cause a ProviderUnavailableError when they cannot be fetched", async () => {
    const token = await sign(await newKey("one"));
    await stopProvider();
    await expect(open().prepare(token)).rejects.toThrow(ProviderUnavailableError);
  });

  it("cause an error when they exceed MAX_PROVIDER_ANSWER_BYTES", async () => {
    const token = await sign(await newKey("one"));
    published.push({ kty: "EC", kid: "filler", use: "x".repeat(MAX_PROVIDER_ANSWER_BYTES - 2000) });
    await open().prepare(token);
    published.push({ kty: "EC", kid: "one too many", use: "x".repeat(2000) });
    await expect(open().prepare(token)).rejects.toThrow(ProviderUnavailableError);
  });
});
