import sharp from "sharp";

export const MAX_PREVIEW_BYTES = 64 * 1024;
/** Tried in this order at every width. Below the last quality, a smaller picture looks better. */
const QUALITIES = [82, 74, 66, 58, 48, 38];
const SHRINK = 0.75;
const MIN_WIDTH = 64;

export interface PreviewOptions {
  /** Pixels. A narrower picture is not enlarged. */
  width: number;
  maxBytes: number;
}

/** Lowers quality and width until the JPEG fits into `maxBytes`. @throws Error when no preview is small enough */
export async function createPreview(jpeg: Buffer, { width, maxBytes }: PreviewOptions): Promise<Buffer> {
  for (let pixels = width; pixels >= MIN_WIDTH; pixels = Math.floor(pixels * SHRINK)) {
    const { data, info } = await sharp(jpeg)
      .rotate()
      .resize({ width: pixels, withoutEnlargement: true })
      .removeAlpha()
      .toColourspace("srgb")
      .raw()
      .toBuffer({ resolveWithObject: true });
    const raw = { width: info.width, height: info.height, channels: info.channels };
    for (const quality of QUALITIES) {
      const preview = await sharp(data, { raw }).jpeg({ quality }).toBuffer();
      if (preview.length <= maxBytes) return preview;
    }
  }
  throw new Error(`no preview of at most ${maxBytes} bytes can be made of this picture`);
}
