import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { pino } from "pino";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { outsideBrokerConfig, outsideBrokerSettings } from "../../../bridge/broker-link/outside/config.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { loadSecrets } from "../../../deploy/config/secrets.ts";
import { checkCertificate } from "../../../deploy/doctor/certificate.ts";
import { checkAuditLog, checkFolder, checkSpace, checkStoreLock } from "../../../deploy/doctor/data-path.ts";
import { checkKeySet, checkRedisStore } from "../../../deploy/doctor/external-services.ts";
import { checkClock, checkNode, checkOpenFiles, openFileLimit } from "../../../deploy/doctor/machine.ts";
import { checkOutsideBroker } from "../../../deploy/doctor/outside-broker.ts";
import { checkPorts } from "../../../deploy/doctor/ports.ts";
import { readEnvironment } from "../../../platform/config.ts";
import { startMosquitto } from "../../support/mosquitto.ts";
import { freePort } from "../../support/ports.ts";
import { startRedis } from "../../support/redis.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";

const DAY_MS = 86_400_000;

function folder(): string {
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  return path;
}

function found(verdict: "ok" | "warn" | "wrong", subject: string, text: string) {
  return { verdict, subject, text: expect.stringContaining(text) };
}

describe("the check of the machine", () => {
  it("accepts a supported version of Node.js, and reports a version that is past its end of life or too old", () => {
    const now = Date.parse("2026-11-29T00:00:00Z");
    expect(checkNode("24.1.0", ">=20.19", now)).toEqual({ verdict: "ok", subject: "Node.js", text: "24.1.0" });
    expect(checkNode("26.0.0", ">=20.19", now).verdict).toBe("ok");
    expect(checkNode("20.19.0", ">=20.19", Date.parse("2026-04-29T00:00:00Z")).verdict).toBe("ok");
    expect(checkNode("20.19.0", ">=20.19", now)).toEqual(
      found("warn", "Node.js", "no security updates since 2026-04-30: install Node.js 24"),
    );
    expect(checkNode("20.18.3", ">=20.19", now)).toEqual(found("wrong", "Node.js", "too old: install Node.js 24"));
  });

  it("accepts a limit of open files that is high enough for the connections, and warns of a lower limit", () => {
    expect(openFileLimit()).toBeGreaterThan(0);
    expect(checkOpenFiles(30_500, 20_000, 10_000).verdict).toBe("ok");
    expect(checkOpenFiles(30_499, 20_000, 10_000)).toEqual(found("warn", "open files", "allow 30000 connections"));
    expect(checkOpenFiles(1_024, Number.POSITIVE_INFINITY, 1)).toEqual(found("warn", "open files", "any number of"));
  });

  it("accepts a plausible clock, and reports a clock that is wrong or not synchronised", async () => {
    // Replaces timedatectl, which works only with systemd.
    const bin = folder();
    vi.stubEnv("PATH", bin);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    expect((await checkClock(Date.now())).verdict).toBe("ok");
    for (const [answer, verdict] of [
      ["yes", "ok"],
      ["no", "warn"],
    ] as const) {
      writeFileSync(join(bin, "timedatectl"), `#!/bin/sh\necho ${answer}\n`, { mode: 0o700 });
      expect((await checkClock(Date.now())).verdict).toBe(verdict);
    }
    expect(await checkClock(0)).toEqual(found("wrong", "clock", "it shows 1970-01-01T00:00:00.000Z: set it"));
  });
});

describe("the check of DATA_PATH", () => {
  it("accepts a folder that is writable or that will be created", async () => {
    const path = folder();
    loadSecrets(path, []);
    expect(await checkFolder(path)).toEqual([
      found("ok", "DATA_PATH", "can be written"),
      found("ok", "secrets", "only this user can read"),
      expect.objectContaining({ subject: "disk" }),
    ]);
    expect(await checkFolder(join(path, "some", "where"))).toEqual([found("ok", "DATA_PATH", "does not exist yet")]);
  });

  it("reports a file, a path below a file, and a folder of another user", async () => {
    const path = folder();
    const file = join(path, "file");
    writeFileSync(file, "");
    expect(await checkFolder(file)).toEqual([found("wrong", "DATA_PATH", "is not a folder")]);
    expect(await checkFolder(join(file, "x"))).toEqual([found("wrong", "DATA_PATH", "cannot be written (ENOTDIR)")]);
    const [first] = await checkFolder(path, (process.getuid?.() ?? 0) + 1);
    expect(first).toEqual(found("warn", "DATA_PATH", "belongs to another user"));
  });

  it("warns of files of another user, for example after a command run by root", async () => {
    const path = folder();
    const stranger = join(path, "cluster");
    if (process.getuid?.() === 0) {
      mkdirSync(stranger);
      chownSync(stranger, 1, 1);
    } else symlinkSync("/etc", stranger);
    expect(await checkFolder(path)).toContainEqual(found("warn", "DATA_PATH", `cluster in ${path} belong`));
  });

  it("reports secrets that are damaged or that other users can read", async () => {
    const path = folder();
    const { operatorKey } = loadSecrets(path, []);
    chmodSync(join(path, "secrets.json"), 0o644);
    const findings = await checkFolder(path);
    expect(findings).toContainEqual(found("wrong", "secrets", "chmod 600"));
    expect(JSON.stringify(findings)).not.toContain(operatorKey);
    writeFileSync(join(path, "secrets.json"), "{");
    expect(await checkFolder(path)).toContainEqual(found("wrong", "secrets", "is damaged"));
  });

  it.each([
    ["ok", 2_000, 100_000, 0],
    ["ok", 2_000, 0, 1],
    ["warn", 1_000, 100_000, 0],
    ["wrong", 10, 100_000, 0],
    ["warn", 2_000, 9_000, 0],
    ["wrong", 2_000, 900, 0],
  ] as const)("says %s about a disk with %i MiB and %i inodes free", (verdict, mib, ffree, withoutInodes) => {
    const disk = { bavail: mib * 256, bsize: 4096, ffree, files: withoutInodes ? 0 : 1_000_000 };
    expect(checkSpace(disk).map((finding) => finding.verdict)).toEqual([verdict]);
  });

  it("says which process has the store open, and warns if a server answers but does not have the store open", async () => {
    const dataPath = folder();
    const server = { dataPath, url: "http://127.0.0.1:8082", isNamed: false };
    expect(await checkStoreLock({ ...server, alive: false })).toEqual([]);
    expect(await checkStoreLock({ ...server, alive: true })).toEqual([found("warn", "store", "does not have")]);
    const cluster = await openLocalCluster({ path: join(dataPath, "cluster"), logger: pino({ level: "silent" }) });
    onTestFinished(() => cluster.stop());
    const opened = `process ${process.pid} has it open`;
    expect(await checkStoreLock({ ...server, alive: true })).toEqual([found("ok", "store", opened)]);
    expect(await checkStoreLock({ ...server, alive: false })).toEqual([found("wrong", "store", `${opened}, but no`)]);
  });

  it("accepts the standard output or a new file as the audit log, and reports a path that cannot be a file", async () => {
    const path = folder();
    writeFileSync(join(path, "file"), "");
    expect((await checkAuditLog("stdout")).verdict).toBe("ok");
    expect((await checkAuditLog(join(path, "new", "audit.log"))).verdict).toBe("ok");
    expect(await checkAuditLog(path)).toEqual(found("wrong", "AUDIT_LOG", "is a folder"));
    expect(await checkAuditLog(join(path, "file", "audit.log"))).toEqual(found("wrong", "AUDIT_LOG", "(ENOTDIR)"));
  });
});

describe("the check of the ports", () => {
  it("accepts ports that are free or used by the server, and reports ports that another program uses or that are set twice", async () => {
    const [free, taken] = [await freePort(), (await serve(() => [200, ""])).port];
    expect(
      await checkPorts(
        "127.0.0.1",
        [
          ["WS_PORT", 0],
          ["MQTT_PORT", free],
        ],
        false,
      ),
    ).toEqual([found("ok", "WS_PORT", "chooses a free port"), found("ok", "MQTT_PORT", `${free} is free`)]);
    const port = ["WS_PORT", taken] as const;
    expect(await checkPorts("127.0.0.1", [port], true)).toEqual([found("ok", "WS_PORT", "the running server uses")]);
    expect(await checkPorts("127.0.0.1", [port], false)).toEqual([found("wrong", "WS_PORT", "another program uses")]);
    expect(await checkPorts("127.0.0.1", [port, ["MQTT_PORT", taken]], true)).toEqual([
      found("wrong", "WS_PORT", "is also the port of MQTT_PORT"),
      found("wrong", "MQTT_PORT", "is also the port of WS_PORT"),
    ]);
  });

  it("reports a HOST that is an address of another machine", async () => {
    expect(await checkPorts("192.0.2.1", [["WS_PORT", 8082]], false)).toEqual([
      found("wrong", "WS_PORT", "HOST 192.0.2.1 is not an address of this machine"),
    ]);
  });
});

describe("the check of the certificates", () => {
  /** A certificate made by openssl, signed by `issuer` or self-signed. */
  function certificate(path: string, name: string, options: { san?: string; issuer?: Pem } = {}): Pem {
    const { san = "DNS:localhost,IP:127.0.0.1", issuer } = options;
    const pem = { certPath: join(path, `${name}.pem`), keyPath: join(path, `${name}-key.pem`) };
    const signer = issuer === undefined ? [] : ["-CA", issuer.certPath, "-CAkey", issuer.keyPath];
    const names = san === "" ? [] : ["-addext", `subjectAltName=${san}`];
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", pem.keyPath];
    const args = ["req", "-x509", ...key, "-days", "90", "-subj", `/CN=${name}`, ...names, ...signer];
    execFileSync("openssl", [...args, "-out", pem.certPath], { stdio: "ignore" });
    return pem;
  }
  interface Pem {
    certPath: string;
    keyPath: string;
  }
  const check = (pem: Pem, { host = "127.0.0.1", now = Date.now(), clientCaPath = "" } = {}) =>
    checkCertificate({ ...pem, port: 8883, clientCaPath: clientCaPath || undefined }, host, now);

  it("accepts a valid certificate, and reports one that expires soon, has expired, or is not yet valid", async () => {
    const pem = certificate(folder(), "broker");
    expect(await check(pem, { clientCaPath: pem.certPath })).toEqual([
      found("ok", "TLS_KEY", pem.keyPath),
      found("ok", "TLS_CERT", "broker is valid until"),
      found("ok", "TLS_CERT", "it is valid for DNS:localhost, IP Address:127.0.0.1"),
      found("warn", "TLS_CERT", "broker is self-signed"),
      found("ok", "TLS_CLIENT_CA", "broker is valid until"),
    ]);
    const at = async (days: number) => (await check(pem, { now: Date.now() + days * DAY_MS }))[1];
    expect(await at(80)).toEqual(found("warn", "TLS_CERT", "renew it"));
    expect(await at(91)).toEqual(found("wrong", "TLS_CERT", "broker expired on"));
    expect(await at(-2)).toEqual(found("wrong", "TLS_CERT", "check the clock of this machine"));
  });

  it("reports a certificate with another key, without a name, or with the name of another host", async () => {
    const path = folder();
    const [one, nameless] = [certificate(path, "one"), certificate(path, "nameless", { san: "" })];
    expect(await check({ ...one, keyPath: nameless.keyPath })).toContainEqual(
      found("wrong", "TLS_KEY", "is not the key of the certificate"),
    );
    expect(await check(nameless)).toContainEqual(found("wrong", "TLS_CERT", "it has no subjectAltName"));
    expect(await check(one, { host: "192.0.2.1" })).toContainEqual(found("warn", "TLS_CERT", "not for HOST 192.0.2.1"));
    expect(await check(one, { host: "0.0.0.0" })).toContainEqual(found("ok", "TLS_CERT", "it is valid for"));
  });

  it("reports a chain that is incomplete, ends with a self-signed certificate, or is in the wrong order", async () => {
    const path = folder();
    const authority = certificate(path, "authority");
    const leaf = certificate(path, "leaf", { issuer: authority });
    expect(await check(leaf)).toContainEqual(found("warn", "TLS_CERT", "its chain ends at authority"));
    const [first, second] = [readFileSync(leaf.certPath), readFileSync(authority.certPath)];
    writeFileSync(leaf.certPath, Buffer.concat([first, second]));
    expect(await check(leaf)).toContainEqual(found("warn", "TLS_CERT", "authority is self-signed"));
    writeFileSync(leaf.certPath, Buffer.concat([first, first, second]));
    expect(await check(leaf)).toContainEqual(
      found("wrong", "TLS_CERT", "is not followed by the certificate of its issuer"),
    );
  });

  it("reports files that are unreadable, and a key that every user can read", async () => {
    const path = folder();
    const pem = certificate(path, "broker");
    const nowhere = join(path, "nowhere.pem");
    expect(await check({ certPath: nowhere, keyPath: nowhere }, { clientCaPath: pem.keyPath })).toEqual([
      found("wrong", "TLS_CERT", "(ENOENT)"),
      found("wrong", "TLS_KEY", "(ENOENT)"),
      found("wrong", "TLS_CLIENT_CA", "contains no certificate"),
    ]);
    chmodSync(pem.keyPath, 0o644);
    expect(await check(pem)).toContainEqual(found("warn", "TLS_KEY", "every user of this machine can read"));
  });
});

describe("the check of other services", () => {
  it("accepts a durable Redis, and reports a Redis that is not durable or not available", async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.remove());
    const check = (url: string) => checkRedisStore({ url, prefix: "skylapse" });
    expect(await check(redis.url)).toEqual([found("ok", "REDIS_URL", `at 127.0.0.1:${redis.port}`)]);
    const careless = await startRedis({ args: ["--maxmemory-policy", "allkeys-lru", "--appendonly", "no"] });
    onTestFinished(() => careless.remove());
    expect(await check(careless.url)).toEqual([
      found("ok", "REDIS_URL", "Redis "),
      found("warn", "REDIS_URL", "set maxmemory-policy noeviction"),
      found("warn", "REDIS_URL", "set appendonly yes"),
    ]);
    const replica = await startRedis({ args: ["--replicaof", "127.0.0.1", String(redis.port)] });
    onTestFinished(() => replica.remove());
    const advice = expect.stringMatching(/set REDIS_WAIT_REPLICAS=1, or in Redis min-replicas-to-write 1/);
    await expect.poll(() => check(redis.url)).toContainEqual({ verdict: "warn", subject: "REDIS_URL", text: advice });
    const nobody = await check(`redis://:hidden-word@127.0.0.1:${await freePort()}`);
    expect(nobody).toEqual([found("wrong", "REDIS_URL", "ECONNREFUSED")]);
    expect(JSON.stringify(nobody)).not.toContain("hidden-word");
  });

  it("accepts an identity provider with keys, and reports a provider without keys or without an answer", async () => {
    let answer: readonly [status: number, body: string] = [200, '{"keys":[{"kty":"EC"}]}'];
    const { url } = await serve(() => answer);
    expect(await checkKeySet(url)).toEqual(found("ok", "JWKS_URL", "1 key at"));
    answer = [200, '{"keys":[]}'];
    expect(await checkKeySet(url)).toEqual(found("wrong", "JWKS_URL", "there are no keys"));
    answer = [200, '{"hello":"world"}'];
    expect(await checkKeySet(url)).toEqual(found("wrong", "JWKS_URL", "is not a JSON Web Key Set"));
    answer = [404, ""];
    expect(await checkKeySet(url)).toEqual(found("wrong", "JWKS_URL", "answers 404"));
    const nowhere = `http://127.0.0.1:${await freePort()}/`;
    expect(await checkKeySet(nowhere)).toEqual(found("wrong", "JWKS_URL", "cannot be read (ECONNREFUSED)"));
  });
});

async function serve(answer: () => readonly [status: number, body: string]) {
  const server: Server = createServer((_request, response) => {
    const [status, body] = answer();
    response.writeHead(status).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { port, url: `http://127.0.0.1:${port}/` };
}

describe("the check of another MQTT broker", () => {
  it("accepts a broker that lets the server in, and reports one that refuses it or is not there", async () => {
    const mosquitto = await startMosquitto({
      hasListener: false,
      lines: ({ folder: path, port }) => {
        execFileSync("mosquitto_passwd", ["-c", "-b", join(path, "passwords"), "skylapse", "a-password"]);
        return [`listener ${port} 127.0.0.1`, `password_file ${join(path, "passwords")}`, "allow_anonymous false"];
      },
    });
    onTestFinished(() => mosquitto.remove());
    const config = (env: Record<string, string>) => {
      const source = { env: { MQTT_URL: mosquitto.url, ...env }, readFile: () => "" };
      return outsideBrokerConfig(readEnvironment(outsideBrokerSettings, source)) ?? expect.fail("no MQTT_URL");
    };
    const good = { MQTT_USERNAME: "skylapse", MQTT_PASSWORD: "a-password" };
    expect(await checkOutsideBroker(config(good))).toEqual([found("ok", "MQTT_URL", "with MQTT 5")]);
    expect(await checkOutsideBroker(config({ ...good, MQTT_VERSION: "3.1.1" }))).toEqual([
      found("ok", "MQTT_URL", "with MQTT 3.1.1"),
      found("warn", "MQTT_VERSION", "broadcasts"),
    ]);
    const wrongPassword = await checkOutsideBroker(config({ ...good, MQTT_PASSWORD: "another" }));
    expect(wrongPassword).toEqual([found("wrong", "MQTT_URL", "do MQTT_USERNAME, MQTT_PASSWORD")]);
    await mosquitto.stop();
    expect(await checkOutsideBroker(config(good))).toEqual([found("wrong", "MQTT_URL", "is the broker running")]);
  });
});
