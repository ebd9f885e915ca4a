import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { closed, inboxOf, NORTH, SECRET, startTestBroker, temporaryFolder, topic } from "../broker-under-test.ts";
import { rawClient } from "../raw-client.ts";

interface Pem {
  certPath: string;
  keyPath: string;
  cert: Buffer;
  key: Buffer;
}

/** A self-signed certificate made by openssl. */
function selfSigned(folder: string, name: string): Pem {
  const certPath = join(folder, `${name}.pem`);
  const keyPath = join(folder, `${name}-key.pem`);
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
  const args = ["req", "-x509", ...curve, "-days", "1", ...subject, "-keyout", keyPath, "-out", certPath];
  execFileSync("openssl", args, { stdio: "ignore" });
  return { certPath, keyPath, cert: readFileSync(certPath), key: readFileSync(keyPath) };
}

async function startTls(env: Record<string, string> = {}) {
  const folder = temporaryFolder();
  const server = selfSigned(folder, "broker");
  const test = await startTestBroker({
    env: { TLS_CERT: server.certPath, TLS_KEY: server.keyPath, ...env },
  });
  return { ...test, ca: server.cert, url: `mqtts://127.0.0.1:${test.broker.ports.mqtts}` };
}

describe("MQTT over TLS", () => {
  it("delivers messages of every size", async () => {
    const { client, token, url, ca, broker } = await startTls();
    const reader = await client({ url, ca, username: "r", password: token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const camera = await client({ url, ca, ...NORTH });
    const sizes = [1, 1000, 100_000, 262_144];
    for (const size of sizes) await camera.publishAsync(topic("cameras/north/about"), "x".repeat(size), { qos: 1 });
    expect((await inbox.has(4)).map(({ payload }) => payload.length)).toEqual(sizes);
    expect(broker.clients().map(({ transport }) => transport)).toEqual(["tls", "tls"]);
  });

  it("answers a refused client with a CONNACK", async () => {
    const { client, url, ca } = await startTls();
    await expect(client({ url, ca, username: "north", password: `${SECRET}!` })).rejects.toMatchObject({ code: 4 });
  });

  it("is refused by a client that does not trust the certificate", async () => {
    const { client, url } = await startTls();
    await expect(client({ url, ...NORTH })).rejects.toMatchObject({ code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
  });

  it("closes a connection that does not finish its handshake in time, and counts the connection until it is closed", async () => {
    const { broker } = await startTls({ MQTT_CONNECT_TIMEOUT_MS: "200" });
    const silent = await rawClient(broker.ports.mqtts);
    await expect.poll(() => broker.stats().connections).toBe(1);
    await silent.ended;
    await expect.poll(() => broker.stats().connections).toBe(0);
  });

  it("closes a connection that sends plain MQTT, and serves the next connection", async () => {
    const { broker, client, url, ca } = await startTls();
    const plain = await rawClient(broker.ports.mqtts);
    plain.send(Buffer.from([0x10, 0x0c, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 0]));
    await plain.ended;
    await client({ url, ca, ...NORTH });
  });

  it("with TLS_CLIENT_CA accepts only certificates of that authority", async () => {
    const folder = temporaryFolder();
    const known = selfSigned(folder, "camera");
    const stranger = selfSigned(folder, "stranger");
    const { client, url, ca } = await startTls({ TLS_CLIENT_CA: known.certPath });
    await client({ url, ca, cert: known.cert, key: known.key, ...NORTH });
    await expect(client({ url, ca, cert: stranger.cert, key: stranger.key, ...NORTH })).rejects.toThrow();
    await expect(client({ url, ca, ...NORTH })).rejects.toThrow();
  });

  it("authenticates a device by its certificate name, and refuses other names", async () => {
    const known = selfSigned(temporaryFolder(), "camera-7");
    const { client, url, ca, devices, broker } = await startTls({ TLS_CLIENT_CA: known.certPath });
    const shown = { url, ca, cert: known.cert, key: known.key };
    await expect(client(shown)).rejects.toMatchObject({ code: 5 });
    await devices.add({ id: "seven", kind: "camera", credential: { certificateName: "camera-7" } });
    const seven = await client({ ...shown, clientId: "seven" });
    expect(broker.clients().map(({ identity }) => identity)).toEqual(["device:seven"]);
    await seven.publishAsync(topic("cameras/seven/about"), "{}", { qos: 1 });
    await expect(client({ ...shown, username: "north" })).rejects.toMatchObject({ code: 5 });
    // A password takes precedence over the certificate, and must be correct.
    await expect(client({ ...shown, username: "seven", password: "" })).resolves.toBeDefined();
    await expect(client({ ...shown, username: "seven", password: SECRET })).rejects.toMatchObject({ code: 4 });
    const ended = closed(seven);
    await devices.rotate("seven", { certificateName: "camera-8" });
    await ended;
    await expect(client(shown)).rejects.toMatchObject({ code: 5 });
  });

  it("names a file that cannot be read", async () => {
    const env = { TLS_CERT: "/nowhere/cert.pem", TLS_KEY: "/nowhere/key.pem" };
    await expect(startTestBroker({ env })).rejects.toThrow(/^TLS_CERT: cannot read \/nowhere\/cert.pem/);
  });

  it("names the variables of files that are not a certificate and its key", async () => {
    const folder = temporaryFolder();
    const { certPath } = selfSigned(folder, "broker");
    await expect(startTestBroker({ env: { TLS_CERT: certPath, TLS_KEY: certPath } })).rejects.toThrow(
      /TLS_CERT, TLS_KEY/,
    );
  });

  it("has no listener without a certificate", async () => {
    expect((await startTestBroker()).broker.ports.mqtts).toBeUndefined();
  });
});
