import { createServer, type Server } from "node:http";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { auditText } from "../support/audit.ts";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";

const TOKEN_BODY = '{"user_id":"mallory","permissions":["admin"]}';
const EVENT_BODY = '{"event":"hello"}';
/** A host name of another site that resolves to this machine, as after DNS rebinding. */
const EVIL = "evil.example";
let bridge: TestBridge;
let evil: Server;
let browser: OwnBrowser;
let page: Page;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0" } });
  evil = createServer(({ url }, response) => {
    if (url === "/redirect") response.writeHead(307, { location: `${here()}/auth/token` }).end();
    else response.setHeader("content-type", "text/html").end("<!doctype html><title>Kittens</title>");
  });
  await new Promise<void>((resolve) => evil.listen(0, "127.0.0.1", resolve));
  browser = await launchBrowser(`--host-resolver-rules=MAP ${EVIL} 127.0.0.1`);
  page = await browser.browser.newPage();
});
afterAll(async () => {
  await browser?.end();
  evil.close();
  await bridge.stop();
});

const here = () => `http://localhost:${bridge.port}`;
const elsewhere = () => {
  const address = evil.address();
  return `http://${EVIL}:${typeof address === "object" ? address?.port : ""}`;
};
const audited = (): { action: string; target: string; outcome: string }[] =>
  auditText(bridge.dataPath)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
const refusals = (target: string) =>
  audited().filter((entry) => entry.action === "access" && entry.target === target && entry.outcome === "unauthorized");
const successes = () => audited().filter(({ action }) => action === "token.mint" || action === "broadcast");

describe("a page of another site in a browser of this machine", () => {
  type Attack = (asked: { url: string; body: string }) => unknown;
  const noCors: Attack = ({ url, body }) => fetch(url, { method: "POST", mode: "no-cors", body });
  const quiet: Attack = ({ url, body }) =>
    fetch(url, { method: "POST", mode: "no-cors", referrerPolicy: "no-referrer", body });
  const beacon: Attack = ({ url, body }) => navigator.sendBeacon(url, body);
  const form: Attack = ({ url, body }) => {
    const sent = document.createElement("form");
    Object.assign(sent, { method: "post", action: url, enctype: "text/plain", target: "_blank" });
    const input = document.createElement("input");
    // The input's name, an equals sign and its value together are JSON.
    [input.name, input.value] = [body.replace(/\}$/, ',"a":"'), '"}'];
    sent.append(input);
    document.body.append(sent);
    sent.submit();
  };
  const sandbox: Attack = ({ url, body }) => {
    const frame = document.createElement("iframe");
    frame.setAttribute("sandbox", "allow-scripts");
    frame.srcdoc = `<script>fetch(${JSON.stringify(url)},{method:"POST",mode:"no-cors",body:${JSON.stringify(body)}})</script>`;
    document.body.append(frame);
  };

  it.each<[string, Attack]>([
    ["a fetch without CORS", noCors],
    ["a fetch without a referrer", quiet],
    ["a beacon", beacon],
    ["a text/plain form whose content is JSON", form],
    ["a sandboxed frame", sandbox],
  ])("gets no token and publishes nothing with %s", async (_, attack) => {
    await page.goto(elsewhere());
    for (const [path, body] of [
      ["/auth/token", TOKEN_BODY],
      ["/broadcast", EVENT_BODY],
    ] as const) {
      const before = refusals(`POST ${path}`).length;
      await page.evaluate(attack, { url: `${here()}${path}`, body }).catch(() => {});
      await expect.poll(() => refusals(`POST ${path}`).length).toBe(before + 1);
    }
    expect(successes()).toEqual([]);
  });

  it("gets no token with a redirect that keeps method and body", async () => {
    await page.goto(elsewhere());
    const before = refusals("POST /auth/token").length;
    const redirect = { url: `${elsewhere()}/redirect`, body: TOKEN_BODY };
    await page
      .evaluate(({ url, body }) => fetch(url, { method: "POST", mode: "no-cors", body }), redirect)
      .catch(() => {});
    await expect.poll(() => refusals("POST /auth/token").length).toBe(before + 1);
    expect(successes()).toEqual([]);
  });

  it("fails at the preflight when the page sends its body as application/json", async () => {
    await page.goto(elsewhere());
    const status = await page.evaluate(
      ({ url, body }) =>
        fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body }).then(
          (answer) => answer.status,
          (error) => String(error),
        ),
      { url: `${here()}/auth/token`, body: TOKEN_BODY },
    );
    expect(status).toContain("Failed to fetch");
    expect(successes()).toEqual([]);
  });

  it("loads nothing as an image, a script or text", async () => {
    await page.goto(elsewhere());
    const read = await page.evaluate(async (url) => {
      const load = (tag: "img" | "script") =>
        new Promise((resolve) => {
          const element = document.createElement(tag);
          element.onload = () => resolve("loaded");
          element.onerror = () => resolve("refused");
          element.src = url;
          document.body.append(element);
        });
      const text = await fetch(url).then(
        (answer) => answer.text(),
        () => "refused",
      );
      return [await load("img"), await load("script"), text];
    }, `${here()}/stats`);
    expect(read).toEqual(["refused", "refused", "refused"]);
  });
});

describe("a page whose host name was rebound to this machine", () => {
  const call = (path: string, body?: string) =>
    page.evaluate(
      async ([path, body]) => (await fetch(String(path), body === undefined ? {} : { method: "POST", body })).status,
      [path, body],
    );

  it("gets no token, publishes nothing and reads no stats, although its origin equals the server's origin", async () => {
    await page.goto(`http://${EVIL}:${bridge.port}/`);
    expect(await call("/auth/token", TOKEN_BODY)).toBe(401);
    expect(await call("/broadcast", EVENT_BODY)).toBe(401);
    expect(await call("/stats")).toBe(401);
    expect(successes()).toEqual([]);
  });

  it("differs from a page under this machine's own name, which gets a token and reads stats", async () => {
    await page.goto(`${here()}/`);
    expect(await call("/auth/token", TOKEN_BODY.replace("admin", "dashboard:read"))).toBe(200);
    expect(await call("/stats")).toBe(200);
  });
});
