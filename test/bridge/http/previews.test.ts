import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { previewListSchema } from "../../../contract/events.ts";
import { smallJpeg } from "../../support/jpeg.ts";
import { captureAt } from "../previews/previews-suite.ts";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const now = Date.now();
/** Newest first, a minute apart. */
const NAMES = Array.from({ length: 12 }, (_, index) => captureAt(now - index * 60_000));
const NEWEST = NAMES[0] ?? "";
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge();
  for (const name of NAMES) await bridge.previews.save("north", name, smallJpeg(name));
});
afterAll(() => bridge.stop());

const get = (path: string, token = bridge.mint("dashboard:read"), headers = {}) =>
  bridge.call(path, { token, headers });

describe("GET /cameras/{id}/latest.jpg", () => {
  it("returns the picture with an etag, by which clients must revalidate", async () => {
    const { status, headers } = await get("/cameras/north/latest.jpg");
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      "content-type": "image/jpeg",
      "content-length": String(smallJpeg(NEWEST).length),
      "cache-control": "private, no-cache",
      "x-content-type-options": "nosniff",
      "x-taken-at": new Date(now).toISOString(),
      etag: (await bridge.previews.newest(["north"])).get("north")?.etag,
    });
    // Without a time in its name, the time of capture is unknown.
    await bridge.previews.save("east", "c1", smallJpeg("one"));
    expect((await get("/cameras/east/latest.jpg")).headers).not.toHaveProperty("x-taken-at");
  });

  it("responds 304 to a client that has the newest picture, and 200 when a newer picture exists", async () => {
    await bridge.previews.save("west", "c1", smallJpeg("one"));
    const etag = (await bridge.previews.newest(["west"])).get("west")?.etag ?? "";
    const ask = (value: string) => get("/cameras/west/latest.jpg", undefined, { "if-none-match": value });
    for (const value of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const { status, text, headers } = await ask(value);
      expect([status, text, headers.etag, headers["cache-control"]]).toEqual([304, "", etag, "private, no-cache"]);
    }
    await bridge.previews.save("west", "c2", smallJpeg("two"));
    expect((await ask(etag)).status).toBe(200);
  });

  it("needs a token that may see the camera, in the header, because URLs are logged", async () => {
    expect((await bridge.call("/cameras/north/latest.jpg")).status).toBe(401);
    expect((await bridge.call(`/cameras/north/latest.jpg?token=${bridge.mint("camera:read")}`)).status).toBe(401);
    expect((await get("/cameras/north/latest.jpg", bridge.mint("camera:south:read"))).status).toBe(403);
    expect((await get("/cameras/north/latest.jpg", bridge.mint("camera:north:read"))).status).toBe(200);
  });

  it("responds 404 while there is no picture", async () => {
    const { status, body } = await get("/cameras/south/latest.jpg");
    expect([status, body.error.code]).toEqual([404, "not_found"]);
  });
});

describe("HEAD", () => {
  const head = (path: string, token: string | undefined, headers = {}) =>
    bridge.call(path, { method: "HEAD", headers, ...(token === undefined ? {} : { token }) });

  it.each(["/cameras/north/latest.jpg", `/cameras/north/previews/${NAMES[3]}.jpg`])(
    "%s has the headers of GET without the picture, and needs the same permission",
    async (path) => {
      const token = bridge.mint("camera:north:read");
      const got = await get(path, token);
      const { status, headers, text } = await head(path, token);
      expect([status, text]).toEqual([200, ""]);
      for (const name of ["etag", "content-type", "content-length", "cache-control", "last-modified", "x-taken-at"])
        expect([name, headers[name]]).toEqual([name, got.headers[name]]);
      expect((await head(path, token, { "if-none-match": headers.etag })).status).toBe(304);
      expect((await head(path, undefined)).status).toBe(401);
      const other = bridge.mint("camera:south:read");
      expect((await head(path, other, { "if-none-match": headers.etag })).status).toBe(403);
    },
  );
});

describe("GET /cameras/{id}/previews", () => {
  it("lists the previews, newest first, each with its URL", async () => {
    const { status, body } = await get("/cameras/north/previews");
    expect(status).toBe(200);
    const { camera, total, previews, next } = previewListSchema.parse(body);
    expect([camera, total, next]).toEqual(["north", 12, undefined]);
    expect(previews.map(({ capture }) => capture)).toEqual(NAMES);
    expect(previews[0]).toEqual({
      ...{ capture: NEWEST, taken_at: new Date(now).toISOString(), url: `/cameras/north/previews/${NEWEST}.jpg` },
      ...{ etag: expect.stringMatching(/^"/), size_bytes: smallJpeg(NEWEST).length },
    });
  });

  it("returns pages, each with the path of the next page in `next`", async () => {
    const read: string[] = [];
    let path: string | undefined = "/cameras/north/previews?limit=5";
    while (path !== undefined) {
      const list = previewListSchema.parse((await get(path)).body);
      expect(list.previews.length).toBeLessThanOrEqual(5);
      read.push(...list.previews.map(({ capture }) => capture));
      path = list.next;
    }
    expect(read).toEqual(NAMES);
  });

  it("returns an overview of the requested number of frames", async () => {
    const { previews, total, next } = previewListSchema.parse((await get("/cameras/north/previews?frames=4")).body);
    expect(previews.map(({ capture }) => NAMES.indexOf(capture))).toEqual([0, 3, 6, 9]);
    expect([total, next]).toEqual([12, undefined]);
  });

  it("is empty for a camera without pictures, and needs a permission", async () => {
    expect((await get("/cameras/south/previews")).body).toEqual({ camera: "south", total: 0, previews: [] });
    expect((await bridge.call("/cameras/north/previews")).status).toBe(401);
    expect((await get("/cameras/north/previews", bridge.mint("camera:south:read"))).status).toBe(403);
  });

  it.each([
    "limit=0",
    "limit=501",
    "limit=x",
    "frames=0",
    "frames=501",
    "before=x",
    "before=1.a/b",
    "frames=4&limit=4",
  ])("refuses ?%s and names what is wrong", async (query) => {
    const { status, body } = await get(`/cameras/north/previews?${query}`);
    expect([status, body.error.code]).toEqual([400, "bad_request"]);
    expect(body.error.message).toMatch(/limit|frames|before/);
  });
});

describe("GET /cameras/{id}/previews/{capture}.jpg", () => {
  const path = `/cameras/north/previews/${NAMES[3]}.jpg`;

  it("returns the picture, which never changes", async () => {
    const { status, headers } = await get(path);
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      "content-type": "image/jpeg",
      "cache-control": "private, max-age=86400, immutable",
      "content-length": String(smallJpeg(NAMES[3] ?? "").length),
    });
    // A browser uses its copy only for the same token.
    expect(headers.vary).toMatch(/authorization/i);
    const again = await get(path, undefined, { "if-none-match": headers.etag });
    expect([again.status, again.text]).toEqual([304, ""]);
  });

  it("needs a permission", async () => {
    expect((await bridge.call(path)).status).toBe(401);
    expect((await get(path, bridge.mint("camera:south:read"))).status).toBe(403);
    const { etag } = (await get(path)).headers;
    expect((await get(path, bridge.mint("camera:south:read"), { "if-none-match": etag })).status).toBe(403);
  });

  it("responds 404 for an unknown preview and 400 for an invalid name", async () => {
    expect((await get("/cameras/north/previews/other.jpg")).status).toBe(404);
    expect((await get("/cameras/south/previews/other.jpg")).status).toBe(404);
    for (const name of ["..%2f..%2fsecrets.jpg", "%2e%2e.jpg", "c1.png", "c1", ".jpg", "C1.jpg", "a%00b.jpg"])
      expect([name, (await get(`/cameras/north/previews/${name}`)).status]).toEqual([name, 400]);
    expect((await get("/cameras/north/previews/../../../etc/passwd")).status).toBe(404);
  });
});
