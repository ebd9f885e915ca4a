import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { OPERATOR_KEY, startTestBridge } from "../bridge/support/test-bridge.ts";
import { withRoutesOf } from "../security/routes-of.ts";
import { ROOT, readPage, sectionOf, tableRows } from "./pages.ts";

const page = readPage("docs/http.md");

describe("docs/http.md", () => {
  let routes: string[];

  beforeAll(async () => {
    const [bridge, found] = await withRoutesOf(() => startTestBridge());
    await bridge.stop();
    routes = [...found]
      .filter((route) => route !== "OPTIONS *")
      .map((route) => route.replaceAll(/:(\w+)/g, "{$1}"))
      .sort();
  });

  it("has a section for every route, and no other section", () => {
    const headings = [...page.matchAll(/^### `([A-Z]+ \/[^`]*)`$/gm)].map(([, route]) => route);
    expect(headings.sort()).toEqual(routes);
  });

  it("lists every route in its table", () => {
    const listed = tableRows(sectionOf(page, "## Routes")).map(([route = ""]) => route.replaceAll("`", ""));
    expect(listed.sort()).toEqual(routes);
  });

  it("lists every error code with its status, and no other code", () => {
    const sources = ["errors.ts", "error-responses.ts", "protection.ts", "request-body.ts", "server.ts"].concat(
      ["auth", "broadcast", "commands", "setup", "socket-io"]
        .map((name) => `routes/${name}.ts`)
        .concat("../websocket/admission.ts"),
    );
    const code = sources.map((name) => readFileSync(join(ROOT, "bridge/http", name), "utf8")).join("\n");
    const thrown = [
      ...code.matchAll(/(\d{3})(?: [A-Za-z ]+")?, (?:\{ code: )?"([a-z_]+)"/g),
      ...code.matchAll(/(\d{3}): \{ reason: "[A-Za-z ]+", code: "([a-z_]+)"/g),
      ...code.matchAll(/"(\d{3}) [A-Za-z ]+", \{ code: "([a-z_]+)"/g),
    ].map(([, status, name]) => `${status} ${name}`);
    const listed = tableRows(sectionOf(page, "## Errors")).map(
      ([status, name = ""]) => `${status} ${name.replaceAll("`", "")}`,
    );
    expect(listed.sort()).toEqual([...new Set(thrown)].sort());
  });

  it("lists every field in the responses of an idle server", async () => {
    const bridge = await startTestBridge({ env: { ARCHIVE: "on" } });
    onTestFinished(() => bridge.stop());
    await vi.waitFor(async () => expect((await bridge.call("/events", { token: OPERATOR_KEY })).status).toBe(200));
    const timestamp = new Date().toISOString();
    await bridge.say("cameras/north/events/tick", { v: 1, id: "north", timestamp, event: "tick" });
    await bridge.say("cameras/north/state/storage", { total_bytes: 1, free_bytes: 1 }, true);
    for (const route of routes.filter((name) =>
      /^GET \/(?!ws|socket\.io|openapi|.*\.jpg|.*file|.*film|.*oidc)./.test(name),
    )) {
      const path = route.replace("GET ", "").replace("{id}", "north");
      const query = ["/allowed-origin", "/setup/proxy"].includes(path) ? "?origin=https://sky.example.org" : "";
      const { status, body } = await bridge.call(path + query, { token: OPERATOR_KEY });
      expect([route, status]).toEqual([route, 200]);
      const group = page.split("\n## ").find((text) => text.includes(`### \`${route}\``)) ?? "";
      // /metrics is text.
      const missing = Object.keys(body ?? {}).filter(
        (field) => !group.includes(`\`${field}\``) && !group.includes(`"${field}"`),
      );
      expect([route, missing]).toEqual([route, []]);
    }
  });
});
