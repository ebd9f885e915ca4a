import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Thumbnails } from "../../../bridge/previews/thumbnails.ts";
import { smallJpeg } from "../../support/jpeg.ts";
import { captureAt } from "../previews/previews-suite.ts";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const now = Date.now();
const CAPTURE = captureAt(now);
let bridge: TestBridge;

/** A picture with noise, 800 pixels wide. */
async function noisyPicture(seed: number, width = 800): Promise<Buffer> {
  const pixels = Buffer.alloc(width * 600 * 3, 0).map((_, index) => 128 + ((index * (seed + 7)) % 97) - 48);
  return await sharp(pixels, { raw: { width, height: 600, channels: 3 } })
    .blur(3)
    .jpeg({ quality: 60 })
    .toBuffer();
}

beforeAll(async () => {
  bridge = await startTestBridge();
  await bridge.previews.save("north", CAPTURE, await noisyPicture(1));
});
afterAll(() => bridge.stop());

const get = (path: string, headers = {}, token = bridge.mint("dashboard:read")) =>
  bridge.call(path, { token, headers });

async function widthOf(path: string): Promise<[width: number, bytes: number]> {
  const response = await fetch(`http://127.0.0.1:${bridge.port}${path}`, {
    headers: { authorization: `Bearer ${bridge.mint("camera:north:read")}` },
  });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "image/jpeg"]);
  const bytes = Buffer.from(await response.arrayBuffer());
  return [(await sharp(bytes).metadata()).width, bytes.length];
}

describe("a thumbnail", () => {
  it.each(["/cameras/north/latest.jpg", `/cameras/north/previews/${CAPTURE}.jpg`])(
    "of %s has the wanted width, and fewer bytes the smaller it is",
    async (path) => {
      const sizes = await Promise.all(["?width=160", "?width=320", "?width=640", ""].map((q) => widthOf(path + q)));
      expect(sizes.map(([width]) => width)).toEqual([160, 320, 640, 800]);
      const bytes = sizes.map(([, length]) => length);
      expect(bytes).toEqual([...bytes].sort((one, other) => one - other));
    },
  );

  it("has an ETag of its own, by which a client that has it gets 304", async () => {
    const path = "/cameras/north/latest.jpg";
    const small = (await get(`${path}?width=160`)).headers;
    const whole = (await get(path)).headers;
    expect(small.etag).not.toBe(whole.etag);
    expect(small).toMatchObject({ "cache-control": "private, no-cache", "x-taken-at": new Date(now).toISOString() });
    const again = await get(`${path}?width=160`, { "if-none-match": small.etag });
    expect([again.status, again.text]).toEqual([304, ""]);
    expect((await get(`${path}?width=320`, { "if-none-match": small.etag })).status).toBe(200);
    expect((await get(path, { "if-none-match": small.etag })).status).toBe(200);
  });

  it("of a newer picture is another one", async () => {
    await bridge.previews.save("west", captureAt(now - 1000), await noisyPicture(2));
    const first = await get("/cameras/west/latest.jpg?width=160");
    await bridge.previews.save("west", captureAt(now), await noisyPicture(3));
    const second = await get("/cameras/west/latest.jpg?width=160", { "if-none-match": first.headers.etag });
    expect([second.status, second.headers.etag === first.headers.etag]).toEqual([200, false]);
  });

  it.each(["200", "0", "160.5", "", "1e3", "160&width=320"])("of the width %s is refused", async (width) => {
    const { status, body } = await get(`/cameras/north/latest.jpg?width=${width}`);
    expect([status, body.error.code]).toEqual([400, "bad_request"]);
    if (!width.includes("&")) expect(body.error.message).toBe("`width` in the query must be one of 160, 320, 640");
  });

  it("needs the permission to see the camera", async () => {
    const path = "/cameras/north/latest.jpg?width=160";
    expect((await bridge.call(path)).status).toBe(401);
    expect((await get(path, {}, bridge.mint("camera:south:read"))).status).toBe(403);
  });

  it("of a picture that is narrower, or cannot be decoded, is the picture itself", async () => {
    await bridge.previews.save("east", CAPTURE, smallJpeg("not decodable"));
    expect((await get("/cameras/east/latest.jpg?width=160")).headers["content-length"]).toBe(
      String(smallJpeg("not decodable").length),
    );
  });
});

function counted(picture: Buffer | undefined, etag = '"1"') {
  const source = {
    ...{ etag, reads: 0 },
    read: async () => {
      source.reads++;
      return picture;
    },
  };
  return source;
}

describe("the maker of thumbnails", () => {
  it("keeps the thumbnails that were used last, up to its bytes", async () => {
    const pictures = await Promise.all([1, 2, 3, 4, 5, 6].map((seed) => noisyPicture(seed)));
    const maxBytes = 3 * ((await new Thumbnails().of("user:a", counted(pictures[0]), 160))?.length ?? 0);
    const thumbnails = new Thumbnails(maxBytes);
    const sources = pictures.map((picture, index) => counted(picture, `"${index}"`));
    for (const source of sources) {
      await thumbnails.of("user:a", source, 160);
      await thumbnails.of("user:a", source, 160);
      expect([source.reads, thumbnails.bytes <= maxBytes]).toEqual([1, true]);
    }
    for (const source of sources.reverse()) await thumbnails.of("user:a", source, 160);
    expect(sources.at(0)?.reads).toBe(1);
    expect(sources.at(-1)?.reads).toBe(2);
  });

  it("makes a thumbnail once for all that ask at the same time", async () => {
    const thumbnails = new Thumbnails();
    const source = counted(await noisyPicture(1));
    const made = await Promise.all(["a", "a", "b"].map((user) => thumbnails.of(`user:${user}`, source, 160)));
    expect([source.reads, new Set(made).size]).toEqual([1, 1]);
  });

  it("lets a user with one picture pass a user who asked for many before", async () => {
    const thumbnails = new Thumbnails();
    const picture = await noisyPicture(1);
    const done: string[] = [];
    const ask = async (user: string, name: string) => {
      await thumbnails.of(user, { etag: `"${name}"`, read: async () => picture }, 160);
      done.push(name);
    };
    const greedy = Array.from({ length: 20 }, (_, index) => ask("user:greedy", `greedy ${index}`));
    await ask("user:modest", "modest");
    expect(done.length).toBeLessThan(6);
    await Promise.all(greedy);
  });

  it("lets a user pass another user who asked for the same picture after many others", async () => {
    const thumbnails = new Thumbnails();
    const picture = await noisyPicture(1);
    const done: string[] = [];
    const ask = async (user: string, name: string) => {
      await thumbnails.of(user, { etag: `"${name}"`, read: async () => picture }, 160);
      done.push(user);
    };
    const greedy = Array.from({ length: 20 }, (_, index) => ask("user:greedy", `picture ${index}`));
    await ask("user:modest", "picture 19");
    expect(done.length).toBeLessThan(6);
    await Promise.all(greedy);
  });

  it("does not decode a picture with many scans of many pixels, which would take a second and 100 MB", async () => {
    const create = { width: 4096, height: 4096, channels: 3, background: "gray" } as const;
    const ofScans = async (progressive: boolean) => await sharp({ create }).jpeg({ progressive }).toBuffer();
    const [one, many] = [await ofScans(false), await ofScans(true)];
    expect(await new Thumbnails().of("user:a", counted(many), 160)).toBe(many);
    expect((await new Thumbnails().of("user:a", counted(one), 160))?.length).toBeLessThan(1_000);
  });

  it("refuses a user who asks for too many at a time", async () => {
    const thumbnails = new Thumbnails();
    const ask = (index: number) => thumbnails.of("user:a", { etag: `"${index}"`, read: async () => undefined }, 160);
    const asked = await Promise.allSettled(Array.from({ length: 501 }, (_, index) => ask(index)));
    expect(asked.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(asked.at(-1)).toMatchObject({ reason: { name: "TooManyThumbnailsError" } });
    expect(await ask(501)).toBeUndefined();
  });
});
