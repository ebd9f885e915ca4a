import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { version } from "../../deploy/config/package.ts";
import { projectFiles, ROOT } from "../house/source-files.ts";
import { launchBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { BUN, DENO, NODE_24 } from "../support/other-runtimes.ts";
import { startSkylapse } from "../support/skylapse.ts";

const run = promisify(execFile);

/**
 * If true, these tests install the package with its dependencies, which takes a minute. Otherwise they use the
 * dependencies of this checkout.
 */
const INSTALLS = process.env.CHECK_RELEASE === "1";

const packSchema = z.tuple([z.object({ filename: z.string(), files: z.array(z.object({ path: z.string() })) })]);

const place = mkdtempSync(join(tmpdir(), "skylapse-package-"));
const consumer = join(place, "consumer");
const modules = join(consumer, "node_modules");
let packed: string[] = [];

beforeAll(async () => {
  const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", place];
  const { stdout } = await run("npm", args, { cwd: ROOT });
  // Some versions of npm print a list, others an object.
  const [{ filename, files }] = packSchema.parse(Object.values(JSON.parse(stdout)));
  packed = files.map(({ path }) => path);
  mkdirSync(modules, { recursive: true });
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  await install(join(place, filename));
});

afterAll(() => rmSync(place, { recursive: true, force: true, maxRetries: 5 }));

/** Serves a folder at an origin of its own, which the server allows. */
async function startOnAnotherOrigin(folder: string, env: Record<string, string> = {}) {
  const files: Server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    response.setHeader("content-type", path.endsWith(".js") ? "text/javascript" : "text/html");
    if (existsSync(join(folder, path))) response.end(readFileSync(join(folder, path)));
    else response.writeHead(404).end();
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void files.close());
  await once(files, "listening");
  const address = files.address();
  const origin = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  const skylapse = await startSkylapse({ env: { JWT_SECRET, ALLOWED_ORIGINS: origin, ...env } });
  onTestFinished(async () => void (await skylapse.end("SIGKILL")));
  return { origin, skylapse };
}

async function openPage(url: string): Promise<Page> {
  const { browser, end } = await launchBrowser();
  onTestFinished(() => end());
  const page = await browser.newPage();
  await page.goto(url);
  return page;
}

async function install(tarball: string): Promise<void> {
  if (INSTALLS) {
    const options = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
    await run("npm", ["install", ...options, tarball], { cwd: consumer });
  } else {
    const folder = join(modules, "skylapse-realtime");
    mkdirSync(folder);
    await run("tar", ["-xzf", tarball, "--strip-components=1", "-C", folder]);
    for (const name of productionPackages()) link(name);
    const { bin } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    mkdirSync(join(modules, ".bin"));
    for (const [name, path] of Object.entries<string>(bin)) {
      chmodSync(join(folder, path), 0o755);
      symlinkSync(join("..", "skylapse-realtime", path), join(modules, ".bin", name));
    }
  }
  // An optional peer, which the application installs.
  for (const name of ["react", "react-dom", "scheduler", "@types/react", "csstype"]) link(name);
}

function link(name: string): void {
  const target = join(modules, name);
  mkdirSync(dirname(target), { recursive: true });
  symlinkSync(join(ROOT, "node_modules", name), target);
}

/** The packages that `npm install --omit=dev` installs at the top level. */
function productionPackages(): string[] {
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  return Object.entries<{ dev?: boolean; devOptional?: boolean }>(packages).flatMap(([path, { dev, devOptional }]) => {
    const [, name] = /^node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(path) ?? [];
    return name === undefined || dev || devOptional || name === "csstype" ? [] : [name];
  });
}

describe("the package", () => {
  it("contains the programs, the files for the deployment, and the documents", () => {
    expect(packed).toEqual(
      expect.arrayContaining([
        ...["dist/deploy/start.js", "dist/deploy/skylapse.js", "dist/device/main.js", "dist/page/index.html"],
        ...["dist/dashboard-client/index.js", "dist/dashboard-client/index.d.ts"],
        ...["deploy/bin/skylapse.js", "deploy/proxy/Caddyfile", "deploy/monitoring/alerts.yml"],
        ...["deploy/skylapse-server.service", "deploy/skylapse-camera.service"],
        ...["docs/operations.md", "README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", ".env.example"],
      ]),
    );
  });

  it("contains every Lua script beside the modules that load it", () => {
    const scripts = projectFiles("bridge", "broker", "platform").filter((path) => path.endsWith(".lua"));
    expect(scripts).not.toEqual([]);
    expect(packed).toEqual(expect.arrayContaining(scripts.map((path) => `dist/${path}`)));
  });

  it("contains no tests, no sources and no data", () => {
    const strays = packed.filter(
      (path) =>
        /(^|\/)test\/|\.test\.|\.tsbuildinfo$|\.map$|\.log$|(^|\/)\.env$|^data\//.test(path) ||
        (/\.tsx?$/.test(path) && !path.endsWith(".d.ts")),
    );
    expect(strays).toEqual([]);
  });
});

const PROGRAM = `
import { createClient, createDashboardStore, type RealTimeData } from "skylapse-realtime";
import { RealTimeProvider, useCamera, useChannel, useCommand, useConnectionStatus, useRealTimeData } from "skylapse-realtime/react";
import { createClient as createSmallClient } from "skylapse-realtime/client";
import { CloseCode, type DashboardEvent, serverMessageSchema } from "skylapse-realtime/contract";

const client = createClient({ url: "ws://localhost:8082/ws", getToken: async () => "token" });
const store = createDashboardStore({ client, channel: "dashboard" });
const state: RealTimeData = store.getSnapshot();
const event = (message: DashboardEvent): string => message.event;
console.log(typeof store, typeof RealTimeProvider, typeof useRealTimeData, CloseCode, serverMessageSchema, state, event);
console.log(createSmallClient === createClient, useCamera, useChannel, useCommand, useConnectionStatus);
// @ts-expect-error: the url must be a string
createClient({ url: 5, getToken: async () => "token" });
`;

describe("a project that installs the package", () => {
  it.each([
    ["NodeNext", "NodeNext"],
    ["ESNext", "Bundler"],
  ])("has no type errors with the modules %s", async (module, moduleResolution) => {
    const compilerOptions = {
      ...{ module, moduleResolution, target: "ES2023", lib: ["ES2023", "DOM", "DOM.Iterable"], types: [] },
      ...{ strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true },
    };
    writeFileSync(join(consumer, "program.ts"), PROGRAM);
    const project = join(consumer, `tsconfig.${moduleResolution}.json`);
    writeFileSync(project, JSON.stringify({ compilerOptions, files: ["program.ts"] }));
    const compiler = join(ROOT, "node_modules", ".bin", "tsc");
    const { stdout } = await run(compiler, ["-p", project]).catch((error) => error);
    expect(stdout).toBe("");
  });

  it("loads every entry point", async () => {
    const { exports } = JSON.parse(readFileSync(join(modules, "skylapse-realtime", "package.json"), "utf8"));
    const names = Object.keys(exports).filter((name) => !name.endsWith(".json"));
    const program = names.map((name) => `await import("skylapse-realtime${name.slice(1)}");`).join("\n");
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", `${program}console.log("loaded")`], {
      cwd: consumer,
    });
    expect(stdout).toBe("loaded\n");
  });

  it.each([
    ["Node.js", process.execPath, []],
    ["Node.js 24", NODE_24, []],
    ["Deno", DENO, ["run", "--allow-net=127.0.0.1", "--allow-env", "--node-modules-dir=manual", "--no-lock"]],
    ["Bun", BUN, ["run"]],
  ])("runs the example for Node.js with %s", async (_name, runtime, args) => {
    const skylapse = await startSkylapse({ env: { JWT_SECRET } });
    onTestFinished(async () => void (await skylapse.end("SIGKILL")));
    const example = join(consumer, "follow.js");
    copyFileSync(join(modules, "skylapse-realtime/deploy/examples/node/follow.js"), example);
    const program = spawn(runtime, [...args, example, skylapse.socket], {
      cwd: consumer,
      env: { PATH: process.env.PATH, HOME: place, SKYLAPSE_TOKEN: signToken("reader", ["dashboard:read"]) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void program.kill("SIGKILL"));
    let output = "";
    for await (const chunk of program.stdout.setEncoding("utf8")) {
      output += chunk;
      if (output.includes("state system.status")) break;
    }
    expect(output).toContain("state system.status");
  });

  it("runs the example without a build in a browser, from another origin", async () => {
    copyFileSync(join(modules, "skylapse-realtime/deploy/examples/html/index.html"), join(consumer, "index.html"));
    const { origin, skylapse } = await startOnAnotherOrigin(consumer);
    const page = await openPage(`${origin}/index.html?server=${skylapse.socket}`);
    await page.fill("#token", signToken("reader", ["dashboard:read"]));
    await page.click("#connect");
    await page.waitForSelector("#events li:has-text('state system.status')");
    expect(await page.textContent("#status")).toBe("connected");
  });

  it("runs the example for React in a browser, from another origin", async () => {
    const example = join(consumer, "react-example");
    cpSync(join(modules, "skylapse-realtime/deploy/examples/react"), example, { recursive: true });
    await build({ root: example, base: "./", logLevel: "error" });
    const { origin, skylapse } = await startOnAnotherOrigin(join(example, "dist"), { SIMULATOR: "1" });
    const page = await openPage(`${origin}/index.html?server=${skylapse.socket}`);
    await page.fill("input[name=token]", signToken("operator", ["dashboard:read", "camera:control"]));
    await page.click("button");
    const camera = page.locator("li", { hasText: ": online" });
    await camera.getByRole("button").click();
    await page.waitForSelector("li:has-text('succeeded')");
    expect(await page.textContent("[role=status]")).toBe("connected, live");
  });

  it("has the commands", async () => {
    const npx = async (...args: string[]) => (await run("npx", ["--no-install", ...args], { cwd: consumer })).stdout;
    expect(await npx("skylapse", "--version")).toBe(`${version}\n`);
    expect(await npx("skylapse-camera", "--version")).toContain(version);
  });

  it("starts the server with the page", async () => {
    const server = spawn(process.execPath, [join(modules, ".bin", "skylapse"), "up"], {
      cwd: consumer,
      env: { PATH: process.env.PATH, SIMULATOR: "0", WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const closed = once(server, "close");
    onTestFinished(() => {
      server.kill("SIGKILL");
    });
    let output = "";
    for await (const chunk of server.stdout.setEncoding("utf8")) {
      output += chunk;
      if (output.includes('"msg":"ready"')) break;
    }
    const [, url = ""] = /"Dashboard":"([^"]+)"/.exec(output) ?? [];
    expect(await (await fetch(url)).text()).toContain("<script");
    expect((await fetch(new URL("/readyz", url))).status).toBe(200);
    server.kill("SIGTERM");
    await closed;
    expect(server.exitCode).toBe(0);
  });
});
