import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openPreviews, PreviewRefusedError, type Previews } from "../../bridge/previews.ts";

let path: string;
let previews: Previews;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "previews-"));
  previews = await openPreviews({ path });
});

afterEach(async () => {
  await previews.close();
  await rm(path, { recursive: true });
});

/** Begins as a JPEG does; nothing here looks further. */
function picture(text: string): Buffer {
  return Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.from(text)]);
}

describe("the newest picture of a camera", () => {
  it("is there when its saving resolves, with the etag of its bytes", async () => {
    const updated = await previews.save("north", "c1", picture("one"));
    expect(updated).toEqual({ capture: "c1", url: "/cameras/north/latest.jpg", etag: updated.etag, size_bytes: 7 });
    const latest = previews.latest("north");
    expect(latest).toMatchObject({ etag: updated.etag, sizeBytes: 7, contentType: "image/jpeg" });
    expect(await latest?.read()).toEqual({ bytes: picture("one"), etag: updated.etag });
    expect(await readFile(join(path, "north.jpg"))).toEqual(picture("one"));
  });

  it("takes the place of the one before, and leaves other cameras alone", async () => {
    const one = await previews.save("north", "c1", picture("one"));
    await previews.save("south", "c1", picture("other"));
    const two = await previews.save("north", "c2", picture("two"));
    expect(two.etag).not.toBe(one.etag);
    expect(previews.latest("north")?.etag).toBe(two.etag);
    expect((await previews.latest("south")?.read())?.bytes).toEqual(picture("other"));
  });

  it("is the last of many that come at once, and no half of one is left", async () => {
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => previews.save("north", `c${index}`, picture(`${index}`))),
    );
    expect((await previews.latest("north")?.read())?.bytes).toEqual(picture("49"));
    expect(await readdir(path)).toEqual(["north.jpg"]);
  });

  it("survives a restart, and what a killed program left half-written does not", async () => {
    const { etag } = await previews.save("north", "c1", picture("one"));
    await writeFile(join(path, "north.jpg.tmp"), "half");
    await previews.close();
    previews = await openPreviews({ path });
    expect(previews.latest("north")?.etag).toBe(etag);
    expect(await readdir(path)).toEqual(["north.jpg"]);
  });

  it("is told as gone when its file was removed", async () => {
    await previews.save("north", "c1", picture("one"));
    await rm(join(path, "north.jpg"));
    expect(await previews.latest("north")?.read()).toBeUndefined();
  });

  it("of a camera that never sent one is undefined", () => {
    expect(previews.latest("north")).toBeUndefined();
    expect(previews.latest("__proto__")).toBeUndefined();
  });
});

describe("refused is", () => {
  it("what is larger than maxBytes, and no byte less", async () => {
    await previews.save("north", "c1", picture("x".repeat(65_532)));
    await expect(previews.save("north", "c2", picture("x".repeat(65_533)))).rejects.toThrow(PreviewRefusedError);
    expect(previews.latest("north")?.sizeBytes).toBe(65_536);
  });

  it.each([
    ["text", Buffer.from("hello")],
    ["nothing", Buffer.alloc(0)],
    ["a PNG", Buffer.from([0x89, 0x50, 0x4e, 0x47, 13])],
  ])("%s", async (_name, bytes) => {
    await expect(previews.save("north", "c1", bytes)).rejects.toThrow("no JPEG");
  });

  it.each(["../north", "a/b", "", "North"])("a camera named %j", async (camera) => {
    await expect(previews.save(camera, "c1", picture("one"))).rejects.toThrow(PreviewRefusedError);
    expect(await readdir(path)).toEqual([]);
  });
});

describe("beyond maxCameras", () => {
  it("the camera whose picture is oldest loses it, after a restart too", async () => {
    await previews.save("a", "c1", picture("a"));
    await previews.save("b", "c1", picture("b"));
    await utimes(join(path, "b.jpg"), new Date(0), new Date(0));
    await previews.close();
    previews = await openPreviews({ path, maxCameras: 2 });
    await previews.save("c", "c1", picture("c"));
    expect(previews.latest("b")).toBeUndefined();
    expect((await readdir(path)).sort()).toEqual(["a.jpg", "c.jpg"]);
  });
});

describe("a disk that does not take the picture", () => {
  it("fails that saving, and the next one works again", async () => {
    await rm(path, { recursive: true });
    await expect(previews.save("north", "c1", picture("one"))).rejects.toThrow("ENOENT");
    path = await mkdtemp(join(tmpdir(), "previews-"));
    previews = await openPreviews({ path });
    await previews.save("north", "c1", picture("one"));
    expect(previews.latest("north")).toBeDefined();
  });
});
