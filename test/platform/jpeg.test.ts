import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPreviews, type Previews } from "../../bridge/previews/previews.ts";
import { measureJpeg } from "../../device/cameras/jpeg.ts";
import { JpegError, readJpeg } from "../../platform/jpeg.ts";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { brokenJpegs, manyScans, wholeJpegs } from "../support/jpeg-files.ts";

let path: string;
let previews: Previews;

beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), "skylapse-jpeg-"));
  previews = await openPreviews({ path });
});

afterAll(async () => {
  await previews.close();
  await rm(path, { recursive: true, force: true });
});

describe.each([...(await wholeJpegs())])("a JPEG %s", (_name, bytes) => {
  it("is accepted by the camera, with its size", async () => {
    const { width, height } = await sharp(bytes).metadata();
    expect(measureJpeg(bytes, "test")).toEqual({ width, height });
  });

  it("is accepted by the server", async () => {
    await previews.save("north", "c1", bytes);
    expect((await previews.read("north", "c1"))?.jpeg.equals(bytes)).toBe(true);
  });

  it("is decoded by libjpeg", async () => {
    // "truncated" fails on incomplete pictures, and ignores the warnings of libjpeg about fill bytes and stray bytes.
    await expect(sharp(bytes, { failOn: "truncated" }).stats()).resolves.toBeDefined();
  });

  it("ends at its EOI marker", () => {
    const { pictureBytes } = readJpeg(bytes);
    expect(bytes.subarray(pictureBytes - 2, pictureBytes)).toEqual(Buffer.of(0xff, 0xd9));
    expect(readJpeg(bytes.subarray(0, pictureBytes))).toMatchObject({ pictureBytes });
  });

  it("is rejected if it is cut anywhere before its EOI marker", () => {
    const { pictureBytes } = readJpeg(bytes);
    const step = Math.ceil(pictureBytes / 200);
    for (let end = 1; end < pictureBytes; end += step)
      expect(() => readJpeg(bytes.subarray(0, end)), `cut at ${end}`).toThrow(JpegError);
  });
});

describe.each([...(await brokenJpegs())])("a JPEG %s", (_name, { bytes, says }) => {
  it("is rejected by the camera", () => {
    expect(() => measureJpeg(bytes, "test")).toThrow(says);
  });

  it("is rejected by the server", async () => {
    await expect(previews.save("south", "c1", bytes)).rejects.toThrow(says);
  });
});

describe("the number of scans", () => {
  it("is limited, so that a picture decodes quickly", async () => {
    expect(readJpeg(manyScans(4096, 2048, 100))).toEqual({
      ...{ width: 4096, height: 2048, scans: 100 },
      pictureBytes: manyScans(4096, 2048, 100).length,
    });
    expect(() => readJpeg(manyScans(4096, 2048, 101))).toThrow("more than 100 scans");
    // The file conforms to the standard, so without a limit a decoder processes every scan.
    await expect(sharp(manyScans(4096, 2048, 101), { failOn: "warning" }).stats()).resolves.toBeDefined();
  });
});

describe("a browser", () => {
  let browser: OwnBrowser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.end());

  it("displays every accepted picture", async () => {
    const page = await browser.browser.newPage();
    for (const [name, bytes] of await wholeJpegs()) {
      const shown = await page.evaluate(async (data) => {
        const image = new Image();
        image.src = `data:image/jpeg;base64,${data}`;
        await image.decode();
        return { width: image.naturalWidth, height: image.naturalHeight };
      }, bytes.toString("base64"));
      const { width, height } = readJpeg(bytes);
      expect(shown, name).toEqual({ width, height });
    }
  });
});
