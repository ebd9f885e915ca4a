import { randomBytes } from "node:crypto";
import sharp from "sharp";
import { expect, test } from "vitest";
import { createPreview, MAX_PREVIEW_BYTES } from "../../../device/link/previews.ts";

async function noisyPicture(width: number, height: number): Promise<Buffer> {
  const raw = { width, height, channels: 3 } as const;
  return sharp(randomBytes(width * height * 3), { raw })
    .jpeg({ quality: 95 })
    .toBuffer();
}

test("the preview encoder scales a preview to its width and keeps the aspect ratio", async () => {
  const picture = await sharp({ create: { width: 1280, height: 960, channels: 3, background: "#468" } })
    .jpeg()
    .toBuffer();
  const preview = await createPreview(picture, { width: 640, maxBytes: MAX_PREVIEW_BYTES });
  expect(await sharp(preview).metadata()).toMatchObject({ format: "jpeg", width: 640, height: 480 });
});

test("the preview encoder keeps the width of a narrower picture", async () => {
  const picture = await noisyPicture(100, 80);
  const preview = await createPreview(picture, { width: 640, maxBytes: MAX_PREVIEW_BYTES });
  expect((await sharp(preview).metadata()).width).toBe(100);
});

test("the preview encoder fits even pure noise, which compresses worst, into the size limit", async () => {
  const preview = await createPreview(await noisyPicture(1280, 960), { width: 960, maxBytes: MAX_PREVIEW_BYTES });
  expect(preview.length).toBeLessThanOrEqual(MAX_PREVIEW_BYTES);
  expect((await sharp(preview).metadata()).width).toBeGreaterThan(150);
});

test("the preview encoder rejects a size limit that no preview can meet", async () => {
  const picture = await noisyPicture(640, 480);
  await expect(createPreview(picture, { width: 640, maxBytes: 100 })).rejects.toThrow(/at most 100 bytes/);
});

test("the preview encoder rejects bytes that are no picture", async () => {
  await expect(createPreview(Buffer.from("hello"), { width: 640, maxBytes: 1000 })).rejects.toThrow();
});
