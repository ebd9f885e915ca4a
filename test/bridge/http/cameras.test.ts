import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { smallJpeg } from "../../support/jpeg.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const ABOUT = {
  model: "Arducam IMX519",
  firmware: "1.0",
  location: { lat: 46.5, lon: 8, timezone: "Europe/Zurich" },
  capture_interval_s: 30,
};
const JPEG = smallJpeg("one");
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge();
  for (const camera of ["north", "south"]) {
    await bridge.say(`cameras/${camera}/link`, { status: "online", session: "s1" }, true);
    await bridge.say(`cameras/${camera}/about`, ABOUT, true);
    await bridge.say(`cameras/${camera}/state/storage`, { total_bytes: 100, free_bytes: 42 }, true);
  }
  await bridge.say("cameras/north/alerts/disk", { alert: "disk", severity: "warning", message: "80 %" }, true);
  await bridge.previews.save("north", "c1", JPEG);
});
afterAll(() => bridge.stop());

const get = (path: string, token = bridge.mint("dashboard:read"), headers = {}) =>
  bridge.call(path, { token, headers });

describe("GET /cameras", () => {
  it("lists what is known about each camera", async () => {
    const { cameras } = (await get("/cameras")).body;
    expect(cameras.map(({ id }: { id: string }) => id)).toEqual(["north", "south"]);
    expect(cameras[0]).toMatchObject({
      presence: { status: "online", session: "s1" },
      about: ABOUT,
      states: { storage: { event: "resource.update", data: { free_bytes: 42 }, position: expect.any(Number) } },
      alerts: { disk: { severity: "warning" } },
      preview: { url: "/cameras/north/latest.jpg", size_bytes: JPEG.length, taken_at: expect.stringMatching(/Z$/) },
    });
    expect(cameras[1].alerts).toEqual({});
    expect(cameras[1]).not.toHaveProperty("preview");
  });

  it("lists only cameras that the token may see", async () => {
    const ids = async (...permissions: string[]) =>
      (await get("/cameras", bridge.mint(...permissions))).body.cameras.map(({ id }: { id: string }) => id);
    expect(await ids("camera:south:read")).toEqual(["south"]);
    expect(await ids("dashboard:read", "camera:south:read")).toEqual(["south"]);
    expect(await ids("camera:read")).toEqual(["north", "south"]);
    expect(await ids("admin")).toEqual(["north", "south"]);
  });

  it("returns pages in the order of the ids, each with the path of the next page", async () => {
    const first = (await get("/cameras?limit=1")).body;
    expect([first.cameras[0].id, first.total, first.next]).toEqual(["north", 2, "/cameras?limit=1&after=north"]);
    const second = (await get(first.next)).body;
    expect([second.cameras[0].id, second.total, second.next]).toEqual(["south", 2, undefined]);
    expect((await get("/cameras?limit=5&after=zebra")).body).toEqual({ cameras: [], total: 2, counts: { online: 2 } });
  });

  it("counts all cameras that the token may see on every page, by status", async () => {
    expect((await get("/cameras?limit=1")).body.counts).toEqual({ online: 2 });
    expect((await get("/cameras", bridge.mint("camera:south:read"))).body.counts).toEqual({ online: 1 });
  });

  it.each(["limit=0", "limit=1001", "limit=x", "after=No%20Id"])("refuses ?%s", async (query) => {
    expect((await get(`/cameras?${query}`)).status).toBe(400);
  });

  it("needs a token with a permission to read, or the operator key", async () => {
    expect((await bridge.call("/cameras")).status).toBe(401);
    expect((await get("/cameras", bridge.mint("camera:control", "jobs:read"))).status).toBe(403);
    expect((await get("/cameras", OPERATOR_KEY)).status).toBe(200);
  });
});

describe("GET /cameras/{id}", () => {
  it("returns the same data as the list", async () => {
    const { body } = await get("/cameras/north");
    expect(body).toEqual((await get("/cameras")).body.cameras[0]);
  });

  it("responds 403 for a camera that the token may not see, 404 for an unknown camera, 400 for an invalid id", async () => {
    expect((await get("/cameras/north", bridge.mint("camera:south:read"))).status).toBe(403);
    expect((await get("/cameras/east")).status).toBe(404);
    expect((await get("/cameras/North")).status).toBe(400);
    expect((await get("/cameras/__proto__")).status).toBe(400);
  });
});
