import { generateKeyPairSync } from "node:crypto";
import jsonwebtoken from "jsonwebtoken";
import { connectAsync } from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { connectDashboard } from "../support/dashboard.ts";
import { freePort } from "../support/ports.ts";
import { removeDataPath, startSkylapse } from "../support/skylapse.ts";

it("the server asks clients to retry, and does not call their tokens invalid, while the identity provider is unreachable", async () => {
  const issuer = "https://id.example.org";
  const env = { JWKS_URL: `http://127.0.0.1:${await freePort()}/`, JWT_ISSUER: issuer, JWT_AUDIENCE: "skylapse" };
  const skylapse = await startSkylapse({ env: { ...env, LOG_LEVEL: "warn" } });
  onTestFinished(async () => {
    await skylapse.end();
    removeDataPath(skylapse.dataPath);
  });
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const token = jsonwebtoken.sign({ permissions: ["dashboard:read"] }, privateKey, {
    ...{ algorithm: "ES256", keyid: "one", subject: "alice", issuer, audience: "skylapse", expiresIn: 60 },
  });
  const { status } = await fetch(`${skylapse.http}/cameras`, { headers: { authorization: `Bearer ${token}` } });
  const dashboard = await connectDashboard(skylapse.socket);
  dashboard.send({ type: "auth", token });
  const client = connectAsync(skylapse.mqtt, { username: "alice", password: token, reconnectPeriod: 0 });
  await expect(client).rejects.toMatchObject({ code: 3 });
  expect([status, await dashboard.closed]).toEqual([503, 4201]);
  // Anybody can make such a token, so the log reports the reason once, not for each token.
  await skylapse.end();
  const said = (text: string) => skylapse.output().split(text).length - 1;
  expect([said("identity provider keys unavailable"), said('"level":"error"')]).toEqual([1, 0]);
});
