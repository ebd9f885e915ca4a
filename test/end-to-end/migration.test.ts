import { join } from "node:path";
import { io } from "socket.io-client";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { setUpExamples } from "../docs/examples.ts";
import { ROOT } from "../docs/pages.ts";
import { lines, rawHttp } from "../security/raw-http.ts";
import { launchBrowser } from "../support/browser.ts";

const SENTENCE = "This server does not speak Socket.IO. Connect a WebSocket to /ws";

describe("docs/migration.md", () => {
  const examples = setUpExamples();

  it.each([
    ["migration-before", [/connected/, /state north online/, /event north/, /command succeeded/]],
    ["migration-after", [/connected/, /state north online/, /event north/, /command succeeded/]],
  ])("the client of the example %s connects, reads state and events, and sends a command", async (name, expected) => {
    // The camera is certainly online once it has reported its first picture.
    await examples.outputOf("README.md", "mosquitto", [/capture\.completed/]);
    const output = await examples.outputOf("docs/migration.md", name, expected);
    for (const pattern of expected) expect(output).toMatch(pattern);
  });
});

describe("a Socket.IO client of this server", () => {
  let bridge: TestBridge;
  beforeAll(async () => {
    bridge = await startTestBridge();
  });
  afterAll(() => bridge.stop());

  it.each([
    ["polling", ""],
    ["websocket", ""],
    ["polling", "/cameras"],
    ["websocket", "/cameras"],
  ])(
    "gets the explanation in connect_error (transport %s, namespace %j), and does not connect again",
    async (transport, namespace) => {
      const socket = io(`http://127.0.0.1:${bridge.port}${namespace}`, {
        ...{ transports: [transport], auth: { token: "x" }, forceNew: true },
      });
      onTestFinished(() => void socket.close());
      const error = await new Promise<Error>((resolve) => socket.once("connect_error", resolve));
      expect(error.message).toMatch(SENTENCE);
      expect([socket.active, socket.connected]).toEqual([false, false]);
    },
  );

  it("prints the explanation in the console of a browser", async () => {
    const { browser, end } = await launchBrowser();
    onTestFinished(end);
    const page = await (await browser.newContext({ bypassCSP: true })).newPage();
    const printed = new Promise<string>((resolve) =>
      page.on("console", (message) => (message.text().includes("410") ? resolve(message.text()) : undefined)),
    );
    await page.goto(`http://127.0.0.1:${bridge.port}/livez`);
    await page.addScriptTag({ path: join(ROOT, "node_modules/socket.io-client/dist/socket.io.min.js") });
    const text = page.evaluate(`new Promise((resolve) => io().on("connect_error", ({ message }) => resolve(message)))`);
    expect(await printed).toContain(SENTENCE);
    expect(await text).toContain(SENTENCE);
  });

  it("gets the explanation in the responses to polling and to an upgrade, for an old version and a page of any origin", async () => {
    const polling = await bridge.call("/socket.io/?EIO=3&transport=polling", {
      headers: { origin: "http://old.example.org" },
    });
    expect([polling.status, polling.body.error.code]).toEqual([410, "socket_io"]);
    expect(polling.headers["access-control-allow-origin"]).toBe("*");
    const upgrade = [
      "GET /socket.io/?EIO=3&transport=websocket HTTP/1.1",
      "Host: x",
      "Connection: Upgrade",
      "Upgrade: websocket",
    ];
    const key = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    const response = String(await (await rawHttp(bridge.port, lines(...upgrade, ...key))).ended);
    expect(response).toMatch(/^HTTP\/1\.1 410 This server does not speak Socket\.IO/);
    expect(response).toContain(`"message":"${SENTENCE}`);
  });
});
