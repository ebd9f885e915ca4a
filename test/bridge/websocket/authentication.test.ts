import jsonwebtoken from "jsonwebtoken";
import { describe, expect, it } from "vitest";
import { createTokens } from "../../../bridge/auth/tokens.ts";
import { TestClient } from "./client.ts";
import { EVERYTHING, SECRET, startRealtime } from "./server.ts";

const now = () => Math.floor(Date.now() / 1000);

describe("the first frame", () => {
  it("is answered with the user and the permissions when its token is valid", async () => {
    const { url, token } = await startRealtime();
    const client = await new TestClient(url).opened();
    client.send({ type: "auth", token: token("alice", EVERYTHING, 900), id: 7 });
    const success = await client.next("auth_success");
    expect(success).toMatchObject({ user_id: "alice", permissions: EVERYTHING, ping_interval: 25, id: 7 });
    expect(success.connection_id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(success.expires_in).toBeGreaterThan(895);
    expect(success.expires_in).toBeLessThanOrEqual(900);
  });

  const header = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
  const claims = { user_id: "mallory", permissions: ["admin"], iat: now(), exp: now() + 900 };
  const unsigned = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.`;
  const foreign = jsonwebtoken.sign(claims, "another key, which is long enough too");
  const deep = `${'{"type":"auth","token":"x","a":'}${"[".repeat(40)}${"]".repeat(40)}}`;

  it.each<[string, string | Buffer, string, number]>([
    ["is binary", Buffer.from('{"type":"auth"}'), "First message must be text containing authentication", 4003],
    ["is not JSON", "hello", "Invalid JSON in authentication message", 4003],
    ["is nested too deeply", deep, "Invalid JSON in authentication message", 4003],
    ["is another request", '{"type":"subscribe"}', "First message must be text containing authentication", 4003],
    ["is not an object", "[]", "First message must be text containing authentication", 4003],
    ["has no token", '{"type":"auth"}', "Missing authentication token", 4002],
    ["has an empty token", '{"type":"auth","token":""}', "Missing authentication token", 4002],
    ["has a token that is not a string", '{"type":"auth","token":7}', "Missing authentication token", 4002],
    ["is longer than 8 KiB", JSON.stringify({ type: "auth", token: "x".repeat(9000) }), "at most 8192 bytes", 4003],
    ["has a token that is not a JWT", '{"type":"auth","token":"x"}', "Invalid or expired authentication token", 4002],
    [
      "has an unsigned token",
      JSON.stringify({ type: "auth", token: unsigned }),
      "Invalid or expired authentication token",
      4002,
    ],
    [
      "has a token signed with another key",
      JSON.stringify({ type: "auth", token: foreign }),
      "Invalid or expired authentication token",
      4002,
    ],
  ])("is refused, and the connection closed, when it %s", async (_, frame, error, code) => {
    const { url, sockets } = await startRealtime();
    const client = await new TestClient(url).opened();
    client.ws.send(frame);
    const refusal = await client.next("auth_error");
    expect(refusal.error).toContain(error);
    expect(refusal.code).toBe(code);
    expect((await client.closed).code).toBe(code);
    await expect.poll(() => sockets.stats().closes).toEqual({ [code]: 1 });
  });

  it("is refused when its token has expired", async () => {
    const { url } = await startRealtime();
    const yesterday = createTokens({ secrets: [SECRET], now: () => Date.now() - 86_400_000 });
    const { token } = yesterday.mint({ userId: "alice", permissions: EVERYTHING, ttlSeconds: 900 });
    const client = await new TestClient(url).opened();
    client.send({ type: "auth", token });
    expect(await client.next("auth_error")).toMatchObject({
      error: "Invalid or expired authentication token",
      code: 4002,
    });
    expect((await client.closed).code).toBe(4002);
  });

  it("closes the connection when it does not arrive in time", async () => {
    const { url } = await startRealtime({ authTimeoutMs: 100 });
    const client = await new TestClient(url).opened();
    expect(await client.next("auth_error")).toMatchObject({ error: "Authentication timeout", code: 4001 });
    expect((await client.closed).code).toBe(4001);
  });

  it("closes the connection when it is refused, and later frames are ignored", async () => {
    const { url, token, sockets } = await startRealtime();
    const client = await new TestClient(url).opened();
    client.send("hello");
    client.send({ type: "auth", token: token() });
    await client.closed;
    expect(client.messages.map(({ type }) => type)).toEqual(["auth_error"]);
    expect(sockets.connections()).toEqual([]);
  });

  it("closes the connection with 1009 when it is larger than any frame may be (RFC 6455)", async () => {
    const { url } = await startRealtime();
    const client = await new TestClient(url).opened();
    client.send("x".repeat(70_000));
    expect((await client.closed).code).toBe(1009);
  });
});
