import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;
const token = () => bridge.mint("camera:north:read");
const get = (query: string, camera = "north") => bridge.call(`/cameras/${camera}/series${query}`, { token: token() });

beforeAll(async () => {
  bridge = await startTestBridge({ env: { ARCHIVE: "on" } });
  const environment = { sun_elevation: 1, sun_azimuth: 2 };
  for (const [index, temperature_c] of [10, 20, 33.333333].entries())
    await bridge.say("cameras/north/state/environment", {
      ...{ v: 1, id: `e${index}`, timestamp: new Date().toISOString(), event: "environmental.update" },
      data: { ...environment, temperature_c },
    });
  const stats = async () => (await bridge.call("/stats", { token: bridge.mint("system:read") })).body.node.archive;
  await vi.waitFor(async () => expect(await stats()).toMatchObject({ behind: 0 }), { timeout: 60_000 });
});
afterAll(() => bridge.stop());

describe("GET /cameras/{id}/series", () => {
  it("has columns of points, of the last day by default", async () => {
    const { status, body } = await get("?fields=temperature&points=1");
    expect(status).toBe(200);
    const { from, to, ...rest } = body;
    expect(Date.parse(to) - Date.parse(from)).toBe(86_400_000);
    expect(rest).toEqual({
      ...{ camera: "north", bucket_s: 86_400 },
      series: {
        temperature: { unit: "°C", at: [Date.parse(from) / 1000], min: [10], mean: [21.111], max: [33.333] },
      },
      // The only bucket begins at `from`, so nothing before it is missing.
      gaps: [],
    });
  });

  it("has all fields without `fields`", async () => {
    const { body } = await get("");
    expect(Object.keys(body.series)).toHaveLength(8);
  });

  it.each([
    ["?fields=temperature,secret", "`fields` in the query must be some of temperature,"],
    ["?fields=", "`fields` in the query must be some of temperature,"],
    ["?points=0", "`points` in the query must be at least 1"],
    ["?points=1001", "`points` in the query must be at most 1000"],
    ["?from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "`from` in the query must be before `to`"],
    ["?from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "by at most 366 days"],
    ["?from=yesterday", "`from` in the query must be an RFC 3339 time"],
    ["?until=now", "has unknown fields: until"],
  ])("refuses %s", async (query, message) => {
    const { status, body } = await get(query);
    expect([status, body.error.code]).toEqual([400, "bad_request"]);
    expect(body.error.message).toContain(message);
  });

  it("needs the permission to see the camera", async () => {
    expect((await bridge.call("/cameras/north/series")).status).toBe(401);
    expect((await get("", "south")).status).toBe(403);
  });

  it("serves at most eight requests of a user at a time, together with the rest of the history", async () => {
    const all = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        index % 2 === 0 ? get("?points=10") : bridge.call("/events", { token: token() }),
      ),
    );
    const refused = all.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.body.error.code).toBe("limit");
    expect((await get("?points=10")).status).toBe(200);
  });

  it("says that the archive is off", async () => {
    const off = await startTestBridge();
    try {
      const { status, body } = await off.call("/cameras/north/series", { token: off.mint("camera:read") });
      expect([status, body.error.code]).toEqual([503, "archive_unavailable"]);
    } finally {
      await off.stop();
    }
  });
});
