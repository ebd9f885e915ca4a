import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from "jose";
import jsonwebtoken from "jsonwebtoken";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createIdentityProvider,
  MAX_KEYS_BYTES,
  ProviderUnavailableError,
} from "../../../bridge/auth/identity-provider.ts";
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
let asked: number;
let url: string;
let bridge: TestBridge | undefined;

beforeEach(async () => {
  published = [];
  asked = 0;
  bridge = undefined;
  server = createServer((_request, response) => {
    asked++;
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

/** From now on the provider answers when it is told to. @returns waits until it is asked, and answers */
function providerThatWaits(): () => Promise<void> {
  const asking = new Promise<ServerResponse>((resolve) => {
    server.removeAllListeners("request").on("request", (_request, response) => resolve(response));
  });
  return async () => {
    (await asking).setHeader("content-type", "application/json").end(JSON.stringify({ keys: published }));
  };
}

async function newKey(kid: string, alg = "RS256"): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  published.push({ ...(await exportJWK(publicKey)), kid, alg, use: "sig" });
  return { alg, kid, privateKey, publicKey };
}

interface Claims {
  issuer?: string;
  audience?: string;
  expiresIn?: string;
  more?: object;
}

function sign({ alg, kid, privateKey }: SigningKey, { issuer = ISSUER, audience = AUDIENCE, ...rest }: Claims = {}) {
  return new SignJWT({ sub: "alice", permissions: ["dashboard:read", "admin"], ...rest.more })
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
  it.each(["RS256", "PS384", "ES256"])("signed with %s opens a socket, and an HTTP route", async (alg) => {
    const token = await sign(await newKey("one", alg));
    const { port, call } = await start();
    const client = await connect(`ws://127.0.0.1:${port}/ws`, token);
    expect(await client.subscribe("dashboard")).toMatchObject({ success: true });
    expect((await call("/connections", { token })).status).toBe(200);
    expect(asked).toBe(1);
  });

  it("renews a socket that it opened", async () => {
    const key = await newKey("one");
    const { port } = await start();
    const client = await connect(`ws://127.0.0.1:${port}/ws`, await sign(key));
    client.send({ type: "auth", token: await sign(key, { expiresIn: "10m" }), id: 7 });
    expect(await client.next("auth_success", ({ id }) => id === 7)).toMatchObject({ user_id: "idp:alice" });
  });

  it.each<[string, Claims]>([
    ["for another audience", { audience: "elsewhere" }],
    ["of another issuer", { issuer: "https://id.example.com/" }],
    ["that has expired", { expiresIn: "-5s" }],
    ["whose permissions are no list", { more: { permissions: "admin" } }],
  ])("%s is refused with 4002", async (_what, claims) => {
    const token = await sign(await newKey("one"), claims);
    expect(await codeFor(await start(), token)).toBe(4002);
  });

  it("with an unknown key is refused, and many such ask the provider once", async () => {
    const [known, stranger] = [await newKey("one"), await newKey("two")];
    published.pop();
    const running = await start();
    expect(await codeFor(running, await sign(stranger))).toBe(4002);
    for (let time = 0; time < 20; time++) {
      const token = await sign({ ...known, kid: `unknown-${time}` });
      expect((await running.call("/connections", { token })).status).toBe(401);
    }
    expect(asked).toBe(1);
  });

  it("signed with an RSA key that is too short is refused, although the provider has it", async () => {
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

  it("signed by its public key as if that were a secret is refused", async () => {
    const { publicKey } = await newKey("one");
    const forged = jsonwebtoken.sign({ permissions: ["admin"] }, await exportSPKI(publicKey), {
      ...{ algorithm: "HS256", keyid: "one", subject: "alice", issuer: ISSUER, audience: AUDIENCE, expiresIn: 60 },
    });
    const running = await start();
    expect(await codeFor(running, forged)).toBe(4002);
    expect((await running.call("/connections", { token: forged })).status).toBe(401);
  });

  it("is of nobody who is known here, whatever the provider calls its user", async () => {
    const key = await newKey("one");
    const running = await start();
    const url = `ws://127.0.0.1:${running.port}/ws`;
    const ours = await connect(url, running.mint("dashboard:read"));
    for (const sub of ["alice", "operator", "idp:alice"]) {
      const token = await sign(key, { more: { sub, user_id: sub } });
      expect(await identify(running, token)).toBe(`idp:${sub}`);
    }
    const theirs = await connect(url, await sign(key));
    const { body } = await running.call("/connections", { token: OPERATOR_KEY });
    expect(body.connections.map(({ user_id }: { user_id: string }) => user_id).sort()).toEqual(["alice", "idp:alice"]);

    const revoke = (user_id: string) =>
      running.call("/auth/revoke", { method: "POST", token: OPERATOR_KEY, body: { user_id } });
    expect((await revoke("alice")).status).toBe(204);
    expect((await ours.closed).code).toBe(4005);
    expect(theirs.ws.readyState).toBe(theirs.ws.OPEN);
    expect((await revoke("idp:alice")).status).toBe(204);
    expect((await theirs.closed).code).toBe(4005);
  });

  it("whose user has a longer id than fits is refused", async () => {
    const key = await newKey("one");
    const running = await start();
    const sub = (length: number) => sign(key, { more: { sub: "a".repeat(length) } });
    expect(await identify(running, await sub(124))).toHaveLength(128);
    expect(await codeFor(running, await sub(125))).toBe(4002);
  });

  it("is the only one whose user can be called so", async () => {
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

  it("is none of our sessions, whatever it calls its own", async () => {
    const sid = `${"0".repeat(12)}-${"0".repeat(24)}`;
    const token = await sign(await newKey("one"), { more: { sid } });
    const { port } = await start();
    await connect(`ws://127.0.0.1:${port}/ws`, token);
  });

  it("does not make its bearer known while the provider is asked for the key: he is cut off at 16 KiB, as any stranger", async () => {
    const token = await sign(await newKey("one"));
    providerThatWaits();
    const { port } = await start();
    const stranger = await new TestClient(`ws://127.0.0.1:${port}/ws`).opened();
    stranger.send({ type: "auth", token });
    for (let frame = 0; frame < 3; frame++) stranger.send({ type: "x".repeat(8_000) });
    // What was still on its way when the server ended the connection may reset it, and take the close frame along.
    expect([4003, 1006]).toContain((await stranger.closed).code);
  });

  it("need not be waited for: what is asked while the provider is asked for the key is answered after it", async () => {
    const token = await sign(await newKey("one"));
    const answer = providerThatWaits();
    const { port } = await start();
    const client = await new TestClient(`ws://127.0.0.1:${port}/ws`).opened();
    client.send({ type: "auth", token });
    client.send({ type: "subscribe", channel: "dashboard" });
    await answer();
    expect(await client.next("subscription_result")).toMatchObject({ channel: "dashboard", success: true });
  });

  it("is not judged while the provider is away: try again later; our own tokens are", async () => {
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

  it("that are new are found, and one that was withdrawn is good no more", async () => {
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

  it("are not looked for when the algorithm is not a provider's", async () => {
    const provider = open();
    const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.e30.`;
    for (const token of [none, jsonwebtoken.sign({}, "s".repeat(32)), "nonsense", ""])
      expect(provider.prepare(token)).toBeUndefined();
    expect(asked).toBe(0);
  });

  it("that cannot be had are an error of their own", async () => {
    const token = await sign(await newKey("one"));
    await stopProvider();
    await expect(open().prepare(token)).rejects.toThrow(ProviderUnavailableError);
  });

  it("are not read to the end when they are more than MAX_KEYS_BYTES", async () => {
    const token = await sign(await newKey("one"));
    published.push({ kty: "EC", kid: "filler", use: "x".repeat(MAX_KEYS_BYTES - 2000) });
    await open().prepare(token);
    published.push({ kty: "EC", kid: "one too many", use: "x".repeat(2000) });
    await expect(open().prepare(token)).rejects.toThrow(ProviderUnavailableError);
  });
});
