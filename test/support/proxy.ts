import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "./ports.ts";
import type { Skylapse } from "./skylapse.ts";

/** Debian installs nginx in a folder that is only in root's PATH. */
const NGINX = "/usr/sbin/nginx";

export interface ReverseProxy {
  /** `https://localhost:…`, or `http://…` without TLS. */
  origin: string;
  end(): Promise<void>;
}

const shipped = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../deploy/proxy/${name}`, import.meta.url)), "utf8");

/** Our configuration of nginx, with the test's ports and certificate. @param site replaces our configuration */
export async function startNginx(skylapse: Skylapse, site?: (port: number) => string): Promise<ReverseProxy> {
  const place = await makePlace();
  const { folder, port, cert, key } = place;
  const own = shipped("nginx.conf")
    .replace("listen 443 ssl", `listen 127.0.0.1:${port} ssl`)
    .replace("server_name sky.example.org", "server_name localhost")
    .replace(/ssl_certificate +\S+;/, `ssl_certificate ${cert};`)
    .replace(/ssl_certificate_key +\S+;/, `ssl_certificate_key ${key};`);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  );
  const text = `worker_processes 1; pid ${folder}/pid; error_log stderr;
    events {} http { access_log off; ${temporary.join(" ")} ${withPorts(site?.(port) ?? own, skylapse)} }`;
  writeFileSync(join(folder, "nginx.conf"), text);
  const child = spawn(NGINX, ["-p", folder, "-c", join(folder, "nginx.conf"), "-g", "daemon off;"], {
    stdio: "ignore",
  });
  return await running(child, place, site === undefined ? "https" : "http");
}

/** Our configuration of Caddy, with the test's ports and certificate. */
export async function startCaddy(skylapse: Skylapse): Promise<ReverseProxy> {
  const place = await makePlace();
  const { folder, port, cert, key } = place;
  const site = shipped("Caddyfile").replace(
    "sky.example.org {",
    `{\n\tadmin off\n\tauto_https disable_redirects\n}\nhttps://localhost:${port} {\n\tbind 127.0.0.1\n\ttls ${cert} ${key}`,
  );
  writeFileSync(join(folder, "Caddyfile"), withPorts(site, skylapse));
  const env = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  const args = ["run", "--adapter", "caddyfile", "--config", join(folder, "Caddyfile")];
  return await running(spawn("caddy", args, { env, stdio: "ignore" }), place, "https");
}

interface Place {
  folder: string;
  port: number;
  cert: string;
  key: string;
}

async function makePlace(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-proxy-"));
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  execFileSync("openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", cert], { stdio: "ignore" });
  return { folder, port: await freePort(), cert, key };
}

function withPorts(text: string, { http, mqttWs }: Skylapse): string {
  return text.replaceAll("127.0.0.1:8082", new URL(http).host).replaceAll("127.0.0.1:8083", new URL(mqttWs).host);
}

async function running(child: ChildProcess, { folder, port }: Place, scheme: string): Promise<ReverseProxy> {
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`the proxy ended with ${child.exitCode}: see ${folder}`);
    await after(20);
  }
  return {
    origin: `${scheme}://localhost:${port}`,
    async end() {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
