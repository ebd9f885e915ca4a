import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { BRIDGE_VARIABLES } from "../../../bridge/config.ts";
import { BROKER_VARIABLES } from "../../../broker/config.ts";
import { storeSettings } from "../../../deploy/config/config.ts";
import { variablesOf } from "../../../platform/config.ts";

const DEPLOY = fileURLToPath(new URL("../../../deploy/", import.meta.url));
const text = readFileSync(join(DEPLOY, "docker-compose.production.yml"), "utf8");
const compose = parse(text, { merge: true });
const services = Object.entries<Service>(compose.services);
const backend = compose.services["realtime-backend"];

interface Service {
  build?: { context: string; dockerfile?: string };
  cap_add?: string[];
  cap_drop: string[];
  cpus: string;
  healthcheck: Record<"interval" | "timeout" | "start_period", string> & { test: unknown; retries: number };
  logging: { options: Record<string, string> };
  mem_limit: string;
  networks: string[];
  ports?: string[];
  privileged?: boolean;
  profiles?: string[];
  read_only: boolean;
  restart: string;
  security_opt: string[];
  volumes?: string[];
}

/** The settings of the guide, with the meaning that the guide gives them. */
const GUIDE = [
  "LOCATION_LAT",
  "LOCATION_LON",
  "TIMEZONE",
  "LOG_LEVEL",
  "POSTGRES_PASSWORD",
  "GRAFANA_PASSWORD",
  "JWT_SECRET",
];
const MONITORING = ["prometheus", "grafana", "redis-exporter"];
/** Services that an operator or a browser reaches. The others are in the internal network only. */
const PUBLISHED = ["frontend", "proxy", "prometheus", "grafana"];

/** A variable of deploy/.env with its default. */
const variable = (name: string, value: number) => `\${${name}:-${value}}`;

describe("docker-compose.production.yml", () => {
  it("has the services of the guide", () => {
    expect(services.map(([name]) => name).sort()).toEqual(
      ["realtime-backend", "frontend", "processing", "redis", "postgres", "proxy", ...MONITORING].sort(),
    );
    expect(compose.services.frontend.container_name).toBe("skylapse-frontend");
    expect(compose.volumes).toHaveProperty("postgres_data");
    for (const name of GUIDE) expect(text).toContain(`\${${name}:`);
  });

  it("starts the monitoring only with its profile", () => {
    for (const [name, { profiles }] of services)
      expect([name, profiles]).toEqual([name, MONITORING.includes(name) ? ["monitoring"] : undefined]);
  });

  it.each(services)("confines %s", (_name, service) => {
    expect(service.cap_drop).toEqual(["ALL"]);
    expect(service.security_opt).toEqual(["no-new-privileges:true"]);
    expect(service.read_only).toBe(true);
    expect(service.privileged).toBeUndefined();
    expect(service.mem_limit).toMatch(/^\d+[mg]$/);
    expect(Number(service.cpus)).toBeGreaterThan(0);
    expect(service.restart).toBe("unless-stopped");
    expect(service.logging.options["max-size"]).toBe("10m");
  });

  it.each(services)("checks the health of %s, after giving it time to start", (_name, { healthcheck }) => {
    // podman-compose 1.0.3 cannot read a list.
    expect(healthcheck.test).toEqual(expect.any(String));
    for (const field of ["interval", "timeout", "start_period"] as const) expect(healthcheck[field]).toMatch(/^\d+s$/);
    expect(healthcheck.retries).toBe(3);
  });

  it("adds a capability only to the proxy, for its ports", () => {
    const added = services
      .filter(([, { cap_add }]) => cap_add !== undefined)
      .map(([name, { cap_add }]) => [name, cap_add]);
    expect(added).toEqual([["proxy", ["NET_BIND_SERVICE"]]]);
  });

  it("publishes no port of a store or a node", () => {
    expect(compose.networks.back.internal).toBe(true);
    for (const [name, { ports, networks }] of services) {
      expect([name, ports !== undefined]).toEqual([name, PUBLISHED.includes(name)]);
      expect([name, networks]).toEqual([name, PUBLISHED.includes(name) ? ["front", "back"] : ["back"]]);
    }
  });

  it("publishes unencrypted ports on 127.0.0.1 only, except the port of the page", () => {
    const { frontend, prometheus, grafana } = compose.services;
    const ports: string[] = [...frontend.ports, ...prometheus.ports, ...grafana.ports];
    const open = ports.filter((port) => !port.startsWith("127.0.0.1:"));
    expect(open).toEqual([`${variable("FRONTEND_PORT", 3000)}:3000`, `${variable("MQTT_TLS_PORT", 8883)}:8883`]);
  });

  it("can start several backends, which share Redis and PostgreSQL", () => {
    expect(backend.container_name).toBeUndefined();
    expect(backend.deploy.replicas).toBe(variable("REPLICAS", 1));
    expect(backend.environment.REDIS_URL).toContain("@redis:6379");
    expect(backend.environment.DATABASE_URL).toContain("@postgres:5432/skylapse");
  });

  it("sets only settings that the server has", () => {
    const known = new Set([...BRIDGE_VARIABLES, ...BROKER_VARIABLES, ...variablesOf(storeSettings)]);
    // These settings are read elsewhere: by the simulated cameras, by the archive, and by the C library.
    const others = ["DATA_PATH", "LOCATION_LAT", "LOCATION_LON", "TIMEZONE", "DATABASE_URL", "TZ"];
    expect(Object.keys(backend.environment).filter((name) => !known.has(name) && !others.includes(name))).toEqual([]);
  });

  it("makes Redis write events at once, and never evict them", () => {
    const command = compose.services.redis.command.join(" ");
    for (const option of ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "--requirepass"])
      expect(command).toContain(option);
    expect(compose.services.redis.volumes).toEqual(["redis_data:/data"]);
  });

  it("contains no secret, and does not start without one", () => {
    const names = text.matchAll(/\$\{(\w*(?:SECRET|PASSWORD|KEY|TOKEN))([^}]*)\}/g);
    for (const [, name, rest] of names) expect([name, rest]).toEqual([name, expect.stringMatching(/^:\?set /)]);
  });

  it("uses only substitutions that podman-compose 1.0.3 understands", () => {
    for (const [found] of text.matchAll(/\$\{[^}]*\}/g)) expect(found).toMatch(/^\$\{\w+(?::-[^{}$]+|:\?[^{}$]+)\}$/);
  });

  it("mounts files that exist", () => {
    const mounted = services.flatMap(([, { volumes = [] }]) => volumes).filter((volume) => volume.startsWith("./"));
    expect(mounted.length).toBeGreaterThan(4);
    for (const volume of mounted) expect(existsSync(join(DEPLOY, volume.split(":")[0] ?? "")), volume).toBe(true);
    for (const [, { build }] of services)
      if (build !== undefined)
        expect(existsSync(join(DEPLOY, build.context, build.dockerfile ?? "Dockerfile"))).toBe(true);
  });
});

describe("Dockerfile", () => {
  const lines = readFileSync(join(DEPLOY, "Dockerfile"), "utf8");

  it.each([
    ["takes another base image", /^ARG NODE_IMAGE=node:24-trixie-slim$/m],
    ["is not root", /^USER 1000:1000$/m],
    ["has production dependencies only", /npm prune --omit=dev/],
    ["has an init", /^ENTRYPOINT \["tini", "-e", "143", "--"\]$/m],
    ["starts the server", /^CMD \["node", "dist\/deploy\/start\.js"\]$/m],
    ["checks its health by node", /^HEALTHCHECK .*\n\s+CMD \["node",/m],
    ["has labels", /org\.opencontainers\.image\.licenses="MIT"/],
  ])("%s", (_title, pattern) => {
    expect(lines).toMatch(pattern);
  });
});
