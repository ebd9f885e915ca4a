import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { PLACES, type TestPlace } from "../journal/archive/archive-places.ts";
import { range } from "../journal/messages.ts";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const FAR = "2020-01-01T00:00:00Z";

describe.each(PLACES)("the history in %s", (_name, createPlace) => {
  let place: TestPlace;
  let bridge: TestBridge;

  beforeAll(async () => {
    place = await createPlace();
    bridge = await startTestBridge({
      env: { ARCHIVE: "on", ...("url" in place.place ? { DATABASE_URL: place.place.url } : {}) },
    });
    for (const n of range(1, 5)) await bridge.say("cameras/north/events/capture.completed", { capture: `c${n}`, n });
    await bridge.say(
      "cameras/south/alerts/lens",
      { alert: "lens", severity: "warning", message: "=1+1 almost full" },
      true,
    );
    await bridge.say("cameras/south/commands/reboot", {
      ...{ id: "cmd-1", name: "reboot", args: {}, issued_by: "user:alice" },
      ...{ issued_at: "2026-03-01T00:00:00Z", expires_at: "2036-03-01T00:00:00Z" },
    });
    await bridge.say(
      "processing/films/jobs/film-1",
      {
        ...{ job: "film-1", type: "timelapse_assembly", status: "completed", progress: 100, camera: "south" },
      },
      true,
    );
    await archived();
  });
  afterAll(async () => {
    await bridge.stop();
    await place.remove();
  });

  /** Waits until every event is in the archive. */
  async function archived(): Promise<void> {
    const token = bridge.mint("system:read");
    const stats = async () => (await bridge.call("/stats", { token })).body.node.archive;
    await vi.waitFor(async () => expect(await stats()).toMatchObject({ behind: 0 }), { timeout: 60_000 });
  }

  const get = (path: string, ...permissions: string[]) => bridge.call(path, { token: bridge.mint(...permissions) });
  const names = async (path: string, ...permissions: string[]) => {
    const { status, body } = await get(path, ...permissions);
    expect(status).toBe(200);
    return body.events.map((event: { event: string }) => event.event);
  };

  test("gives an event as dashboards received it, with epoch, position and time of acceptance", async () => {
    const { body } = await get("/events?camera=north&limit=1", "dashboard:read");
    expect(body.events).toEqual([
      {
        ...{ epoch: bridge.journal.epoch, position: expect.any(Number), accepted_at: expect.stringMatching(/Z$/) },
        ...{ kind: "event", event: "capture.completed", data: { capture: "c5", n: 5 }, camera: "north" },
        ...{ timestamp: expect.any(String), topic: "cameras/north/events/capture.completed" },
      },
    ]);
    expect(body.next).toMatch(/^\/events\?camera=north&limit=1&cursor=\d+$/);
    expect(body.gaps).toEqual([]);
  });

  test("gives each event once to a client that follows `next` to the last page", async () => {
    const found: number[] = [];
    for (let path: string | undefined = "/events?event=capture.completed&limit=2"; path !== undefined; ) {
      const { body } = await get(path, "dashboard:read");
      found.push(...body.events.map(({ data }: { data: { n: number } }) => data.n));
      path = body.next;
    }
    expect(found).toEqual([5, 4, 3, 2, 1]);
  });

  test("keeps a query with a question mark in next", async () => {
    const { body } = await get("/events?text=?c*&limit=2", "dashboard:read");
    expect(body.next).toMatch(/^\/events\?text=%3Fc\*&limit=2&cursor=\d+$/);
  });

  test("refuses an id that a database cannot compare", async () => {
    expect((await get("/commands?command=%00", "admin")).status).toBe(400);
  });

  test("gives alerts, jobs and commands, and finds words", async () => {
    expect(await names("/alerts", "alerts:read")).toEqual(["alert.raised"]);
    expect(await names("/jobs?job=film-1", "jobs:read")).toEqual(["job.completed"]);
    expect(await names("/jobs?job=film-2", "jobs:read")).toEqual([]);
    // The command, and the outcome that the server recorded.
    expect(await names("/commands?command=cmd-1", "camera:south:control")).toEqual(["command.ended", "state.updated"]);
    expect(await names("/events?text=almost", "dashboard:read")).toEqual(["alert.raised"]);
    expect(await names(`/events?to=${FAR}`, "dashboard:read")).toEqual([]);
    expect(await names("/events?kind=system&limit=1", "system:read")).toHaveLength(1);
  });

  test("applies the permissions of live events", async () => {
    const south = await get("/events", "camera:south:read");
    const topics: string[] = south.body.events.map(({ topic }: { topic: string }) => topic);
    expect(topics).toContain("cameras/south/alerts/lens");
    expect(topics.filter((topic) => !topic.startsWith("cameras/south/"))).toEqual([]);
    expect(await names("/alerts", "dashboard:read", "camera:north:read")).toEqual([]);
    expect(await names("/jobs", "jobs:read", "camera:north:read")).toEqual([]);
    expect(await names("/commands", "camera:north:control")).toEqual([]);
    expect(await names("/events?kind=command", "dashboard:read", "camera:read")).toEqual([]);
    expect(await names("/events?kind=command", "admin")).not.toEqual([]);
    for (const path of ["/events", "/alerts", "/jobs"]) {
      expect((await bridge.call(path)).status).toBe(401);
      expect((await get(path, "broadcast:write")).status).toBe(403);
    }
    expect((await get("/commands", "dashboard:read", "camera:read")).status).toBe(403);
  });

  test("exports NDJSON and CSV", async () => {
    const lines = await get("/events?format=ndjson&event=capture.completed", "dashboard:read");
    expect(lines.headers["content-type"]).toBe("application/x-ndjson; charset=utf-8");
    const parsed = lines.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(parsed.map(({ data }) => data.n)).toEqual([5, 4, 3, 2, 1]);
    const accepted = await bridge.call("/alerts", {
      token: bridge.mint("alerts:read"),
      headers: { accept: "text/csv" },
    });
    const [head, row] = accepted.text.split("\n");
    expect(head).toBe("accepted_at,timestamp,epoch,position,kind,event,camera,topic,id,data");
    expect(row).toContain(",alert,alert.raised,south,cameras/south/alerts/lens,,");
    const limited = await get("/events?format=ndjson&event=capture.completed&limit=2", "dashboard:read");
    expect(limited.text.trimEnd().split("\n")).toHaveLength(2);
  });

  test("exports more events than one page", async () => {
    await Promise.all(range(1, 1_200).map((n) => bridge.say("cameras/west/events/tick", { n })));
    await archived();
    const { text } = await get("/events?format=ndjson&event=tick", "dashboard:read");
    const found = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).data.n);
    expect(found.sort((one, other) => one - other)).toEqual(range(1, 1_200));
  });

  test("refuses a wrong query and names each parameter", async () => {
    const { status, body } = await get("/events?from=yesterday&limit=0&kind=x&text=%21&camra=north", "dashboard:read");
    expect(status).toBe(400);
    expect(body.error.details.map(({ field }: { field: string }) => field).sort()).toEqual([
      "",
      "from",
      "kind",
      "limit",
      "text",
    ]);
  });
});

describe("without an archive", () => {
  let bridge: TestBridge;
  afterEach(() => bridge.stop());

  test("the history is refused, and everything else works", async () => {
    bridge = await startTestBridge();
    const { status, body } = await bridge.call("/events", { token: bridge.mint("dashboard:read") });
    expect({ status, code: body.error.code }).toEqual({ status: 503, code: "archive_unavailable" });
    expect(body.error.message).toMatch(/ARCHIVE=on/);
    expect((await bridge.call("/readyz")).status).toBe(200);
  });

  test("one user cannot take the history from others", async () => {
    const frozen = createServer().listen(0, "127.0.0.1");
    await once(frozen, "listening");
    const { port } = frozen.address() as AddressInfo;
    const held: Socket[] = [];
    frozen.on("connection", (socket) => held.push(socket.on("error", () => undefined)));
    bridge = await startTestBridge({ env: { ARCHIVE: "on", DATABASE_URL: `postgres://u:p@127.0.0.1:${port}/d` } });
    const token = bridge.mint("dashboard:read");
    const asked = range(1, 8).map(() => bridge.call("/events?format=ndjson", { token }));
    // The first eight requests wait for the database. The next request exceeds the limit, so its answer comes at once.
    const first = await Promise.race([...asked, ...range(1, 8).map(() => bridge.call("/events", { token }))]);
    expect({ status: first.status, code: first.body.error.code }).toEqual({ status: 429, code: "limit" });
    frozen.close();
    for (const socket of held) socket.destroy();
    await Promise.all(asked);
  });

  test("a database that cannot be reached leaves the server ready", async () => {
    bridge = await startTestBridge({
      env: { ARCHIVE: "on", DATABASE_URL: "postgres://nobody:geheim@127.0.0.1:1/none" },
    });
    await bridge.say("cameras/north/events/tick", {});
    const stats = async () => (await bridge.call("/stats", { token: bridge.mint("system:read") })).body.node.archive;
    await expect.poll(stats).toMatchObject({ trouble: expect.stringMatching(/ECONNREFUSED/) });
    expect(JSON.stringify(await stats())).not.toContain("geheim");
    expect((await bridge.call("/readyz")).status).toBe(200);
    const { status, body } = await bridge.call("/events", { token: bridge.mint("dashboard:read") });
    expect({ status, code: body.error.code }).toEqual({ status: 503, code: "archive_unavailable" });
  });
});
