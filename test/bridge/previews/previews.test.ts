import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openPreviews, PreviewRefusedError, type Previews } from "../../../bridge/previews/previews.ts";
import { smallJpeg } from "../../support/jpeg.ts";
import { previewsSuite } from "./previews-suite.ts";

describe("previews in files", () => {
  previewsSuite(async () => {
    const path = await mkdtemp(join(tmpdir(), "previews-"));
    return {
      open: (options) => openPreviews({ path, ...options }),
      remove: () => rm(path, { recursive: true }),
    };
  });
});

let path: string;
let previews: Previews;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "previews-"));
  previews = await openPreviews({ path });
});

afterEach(async () => {
  await previews.close();
  await rm(path, { recursive: true, force: true });
});

describe("preview files", () => {
  it("are complete, without temporary files, also when many are saved at once", async () => {
    await Promise.all(
      Array.from({ length: 40 }, (_, index) => previews.save("north", `c${index}`, smallJpeg(`${index}`))),
    );
    expect(await readdir(path)).toEqual(["north"]);
    const names = await readdir(join(path, "north"));
    expect(names).toHaveLength(40);
    expect(names.filter((name) => !name.endsWith(".jpg"))).toEqual([]);
  });

  it("are removed when a killed program left them incomplete; foreign files stay", async () => {
    await previews.save("north", "c1", smallJpeg("one"));
    await writeFile(join(path, "north", "1.2.c2.3.abc.jpg.1.tmp"), "half");
    await writeFile(join(path, "north", "readme.txt"), "mine");
    await mkdir(join(path, "Not a camera"));
    await previews.close();
    previews = await openPreviews({ path });
    const names = await readdir(join(path, "north"));
    expect(names.filter((name) => name.endsWith(".tmp"))).toEqual([]);
    expect(names).toContain("readme.txt");
    expect(await readdir(path)).toContain("Not a camera");
    expect((await previews.read("north"))?.jpeg).toEqual(smallJpeg("one"));
  });

  it("that were deleted are reported as missing", async () => {
    await previews.save("north", "c1", smallJpeg("one"));
    await rm(join(path, "north"), { recursive: true });
    expect(await previews.read("north")).toBeUndefined();
  });

  it("cannot be saved while their folder is missing, but can afterwards", async () => {
    await previews.save("north", "c1", smallJpeg("one"));
    await rm(path, { recursive: true });
    await expect(previews.save("north", "c2", smallJpeg("two"))).rejects.toThrow("ENOENT");
    await mkdir(path);
    await previews.save("north", "c3", smallJpeg("three"));
    expect((await previews.read("north"))?.jpeg).toEqual(smallJpeg("three"));
  });
});

describe("the preview store refuses", () => {
  it("a preview of one byte too many, and accepts a preview of exactly the limit", async () => {
    await previews.save("north", "c1", smallJpeg("big", { bytes: 65_536 }));
    const save = previews.save("north", "c2", smallJpeg("too big", { bytes: 65_537 }));
    await expect(save).rejects.toThrow("65537 bytes, more than 65536");
    await expect(save).rejects.toThrow(PreviewRefusedError);
    expect((await previews.newest(["north"])).get("north")?.sizeBytes).toBe(65_536);
  });

  const whole = smallJpeg("one");
  it.each([
    ["text", Buffer.from("hello"), "no JPEG"],
    ["nothing", Buffer.alloc(0), "no JPEG"],
    ["a PNG", Buffer.from([0x89, 0x50, 0x4e, 0x47, 13]), "no JPEG"],
    ["a web page that starts like a JPEG", Buffer.from("\xff\xd8\xff\xe0<script>", "latin1"), "without its end"],
    ["a JPEG without its end", whole.subarray(0, -1), "without its end"],
    ["a JPEG cut within a segment", whole.subarray(0, 20), "without its end"],
    ["a JPEG without a frame", Buffer.concat([Buffer.of(0xff, 0xd8), whole.subarray(-14)]), "without a size"],
    ["a JPEG of no width", smallJpeg("one", { width: 0 }), "without a size"],
    ["a JPEG that is too wide", smallJpeg("one", { width: 4097 }), "4097 × 240 pixels, more than 4096"],
    ["a JPEG that is too high", smallJpeg("one", { height: 65_535 }), "65535 pixels"],
  ])("%s", async (_name, bytes, why) => {
    const save = previews.save("north", "c1", bytes);
    await expect(save).rejects.toThrow(why);
    await expect(save).rejects.toThrow(PreviewRefusedError);
    expect(await readdir(path)).toEqual([]);
  });

  it.each(["../north", "a/b", "", "North", "a\0b", ".."])("the camera or capture id %j", async (name) => {
    await expect(previews.save(name, "c1", whole)).rejects.toThrow("is not a camera id");
    await expect(previews.save("north", name, whole)).rejects.toThrow("is not a capture id");
    expect(await readdir(path)).toEqual([]);
  });
});

describe("the preview store accepts", () => {
  it.each([{}, { progressive: true }, { mozjpeg: true }, { quality: 10 }])(
    "a JPEG that an encoder wrote with %j",
    async (options) => {
      const create = { width: 64, height: 48, channels: 3, background: "#a63" } as const;
      const jpeg = await sharp({ create }).jpeg(options).toBuffer();
      await previews.save("north", "c1", jpeg);
      // Some cameras pad the last block of a file.
      await previews.save("north", "c2", Buffer.concat([jpeg, Buffer.alloc(16)]));
    },
  );
});
