import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import type { BrowserContext, CDPSession, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../../support/browser.ts";
import { bundleSize } from "../../support/bundle-size.ts";
import { serve, until } from "../support/harness.ts";
import type { ProtocolConnection, ProtocolServer } from "../support/protocol-server.ts";
import type { Tab } from "./tab.ts";

declare const shared: Tab;

let own: OwnBrowser;
let origin: string;
const files = createServer();

beforeAll(async () => {
  own = await launchBrowser();
  const { code } = await bundleSize(fileURLToPath(new URL("tab.ts", import.meta.url)));
  files.on("request", (request, response) => {
    const isScript = request.url?.startsWith("/tab.js") === true;
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? code : '<!doctype html><script type="module" src="/tab.js"></script>');
  });
  files.listen(0, "127.0.0.1");
  await once(files, "listening");
  const address = files.address();
  origin = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
});

afterAll(async () => {
  files.close();
  await own.end();
});

interface Tabs {
  server: ProtocolServer;
  context: BrowserContext;
  open(tab: string, since?: number): Promise<Page>;
}

async function start(): Promise<Tabs> {
  const server = await serve();
  const context = await own.browser.newContext();
  onTestFinished(() => letClose(context));
  return {
    ...{ server, context },
    open: async (tab, since) => {
      const page = await context.newPage();
      const query = new URLSearchParams({ tab, server: server.url });
      if (since !== undefined) query.set("since", String(since));
      await page.goto(`${origin}/?${query}`);
      return page;
    },
  };
}

const untilLive = (page: Page) => page.waitForFunction(() => shared.subscription() === "live");
const positions = (page: Page): Promise<number[]> => page.evaluate(() => shared.positions);
const untilPosition = (page: Page, last: number) =>
  page.waitForFunction((position) => (shared.positions.at(-1) ?? 0) >= position, last);

/** The open connections by their tokens, which are the names of the tabs. */
function connected({ connections }: ProtocolServer, closed: ReadonlySet<ProtocolConnection>): string[] {
  return connections.filter((connection) => !closed.has(connection)).map(nameOf);
}

function nameOf({ received }: ProtocolConnection): string {
  const [auth] = received;
  return auth?.type === "auth" ? auth.token : "";
}

/** Watches which connections the clients have closed. */
function watchClosed(server: ProtocolServer): Set<ProtocolConnection> {
  const closed = new Set<ProtocolConnection>();
  const watched = new Set<ProtocolConnection>();
  const timer = setInterval(() => {
    for (const connection of server.connections.filter((each) => !watched.has(each))) {
      watched.add(connection);
      void connection.closed.then(() => closed.add(connection));
    }
  }, 2);
  onTestFinished(() => clearInterval(timer));
  return closed;
}

function from(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

/** Publishes an event every few milliseconds. @returns stops, and returns the last position */
function publish(server: ProtocolServer): () => number {
  const timer = setInterval(() => server.publish({}), 4);
  onTestFinished(() => clearInterval(timer));
  return () => {
    clearInterval(timer);
    return server.head;
  };
}

async function freeze(page: Page): Promise<CDPSession> {
  const session = await page.context().newCDPSession(page);
  await session.send("Debugger.enable");
  const paused = new Promise((resolve) => session.once("Debugger.paused", resolve));
  await session.send("Debugger.pause");
  await paused;
  return session;
}

const ENDS: Record<string, (page: Page) => unknown> = {
  closed: (page) => page.close(),
  crashed: async (page) => {
    const session = await page.context().newCDPSession(page);
    session.send("Page.crash").catch(() => {});
  },
  "navigated away": (page) => page.goto("about:blank"),
  frozen: freeze,
};

describe("tabs with a shared client", () => {
  it("get every event once and in order over one connection", async () => {
    const { server, open } = await start();
    const closed = watchClosed(server);
    const stop = publish(server);
    const pages = [await open("a"), await open("b"), await open("c")];
    for (const page of pages) await untilLive(page);
    await until(() => connected(server, closed).length === 1);
    for (const page of pages) await untilPosition(page, server.head + 20);
    const last = stop();
    for (const page of pages) {
      await untilPosition(page, last);
      const received = await positions(page);
      expect(received).toEqual(from(received[0] ?? 0, last));
      expect(await page.evaluate(() => [shared.snapshots, shared.gaps])).toEqual([1, 0]);
    }
    expect(connected(server, closed)).toEqual(["a"]);
  });

  it("join with the cursor of a cache without a second connection", async () => {
    const { server, open } = await start();
    for (let count = 0; count < 30; count++) server.publish({});
    const first = await open("a", 10);
    await untilLive(first);
    await untilPosition(first, 30);
    const second = await open("b", 20);
    await untilLive(second);
    await untilPosition(second, 30);
    expect([await positions(first), await positions(second)]).toEqual([from(11, 30), from(21, 30)]);
    expect(server.connections).toHaveLength(1);
    // The first tab's connection resumed after position 10, so the events before are missing here.
    const third = await open("c", 5);
    await untilLive(third);
    await untilPosition(third, 30);
    expect(await positions(third)).toEqual(from(6, 30));
    await until(() => server.connections.length === 2);
  });

  it.each(Object.entries(ENDS))("resume within two seconds when the leader is %s", async (_how, end) => {
    const { server, open } = await start();
    const closed = watchClosed(server);
    const leader = await open("a");
    await untilLive(leader);
    const others = [await open("b"), await open("c")];
    for (const page of others) await untilLive(page);
    await until(() => connected(server, closed).length === 1);
    const stop = publish(server);
    await others[0]?.bringToFront();
    for (const page of others) await untilPosition(page, server.head + 5);
    const before = server.connections.length;
    const since = Date.now();
    await end(leader);
    const next = await server.connection(before);
    await until(() => next.channels.has("dashboard"));
    console.log(`a new leader resumed ${Date.now() - since} ms after the old one was ${_how}`);
    expect(Date.now() - since).toBeLessThan(process.env.LONG_TESTS === "1" ? 2_000 : 10_000);
    const last = stop();
    for (const page of others) {
      await untilPosition(page, last);
      const received = await positions(page);
      expect(received).toEqual(from(received[0] ?? 0, last));
      expect(await page.evaluate(() => [shared.snapshots, shared.gaps])).toEqual([1, 0]);
    }
  });

  it("follow another tab after a freeze, and miss nothing", async () => {
    const { server, open } = await start();
    const closed = watchClosed(server);
    const first = await open("a");
    await untilLive(first);
    const second = await open("b");
    await untilLive(second);
    await until(() => connected(server, closed).length === 1);
    const stop = publish(server);
    await second.bringToFront();
    const before = server.connections.length;
    const session = await freeze(first);
    await server.connection(before);
    await session.send("Debugger.resume");
    await session.send("Debugger.disable");
    await until(() => connected(server, closed).join() === "b");
    const last = stop();
    for (const page of [first, second]) {
      await untilPosition(page, last);
      const received = await positions(page);
      expect(received).toEqual(from(received[0] ?? 0, last));
    }
    expect(await first.evaluate(() => shared.connection())).toBe("connected");
  });

  it("send commands, and learn that an outcome is unknown when the leader ends", async () => {
    const { server, open } = await start();
    server.script.command = (connection, { id, name }) => {
      if (name === "hang") return;
      connection.send({ type: "command_result", id, status: "accepted" });
      connection.send({ type: "command_result", id, status: "succeeded", result: nameOf(connection) });
    };
    const leader = await open("a");
    await untilLive(leader);
    const other = await open("b");
    await untilLive(other);
    for (const page of [leader, other]) {
      const outcome = await page.evaluate(async () => {
        const progress: string[] = [];
        const onProgress = ({ status }: { status: string }): void => void progress.push(status);
        const { status, result } = await shared.client.command("north", "capture.now", {}, { onProgress });
        return { progress, status, result };
      });
      expect(outcome).toEqual({ progress: ["accepted", "succeeded"], status: "succeeded", result: "a" });
    }
    const error = other.evaluate(() => shared.client.command("north", "hang").catch(({ name }) => name));
    await server.connections[0]?.next("command", ({ name }) => name === "hang");
    await leader.close();
    expect(await error).toBe("OutcomeUnknownError");
  });

  it("restart when one of them asks for it", async () => {
    const { open } = await start();
    const pages = [await open("a"), await open("b"), await open("c")];
    for (const page of pages) await untilLive(page);
    await pages[1]?.evaluate(() => shared.client.restartTabs());
    await pages[0]?.waitForFunction(() => shared.restarts === 1);
    await pages[2]?.waitForFunction(() => shared.restarts === 1);
    expect(await pages[1]?.evaluate(() => shared.restarts)).toBe(0);
  });

  it("have connections of their own in a browser without Web Locks", async () => {
    const { server, context, open } = await start();
    await context.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, "locks"));
    const pages = [await open("a"), await open("b")];
    for (const page of pages) await untilLive(page);
    expect(server.connections.map(nameOf)).toEqual(["a", "b"]);
  });
});
