import sharp from "sharp";

/** The contract's limit for a preview. */
export const MAX_PREVIEW_BYTES = 64 * 1024;
/** Tried in this order at every width. A smaller picture looks better than one of a quality below the last. */
const QUALITIES = [82, 74, 66, 58, 48, 38];
const SHRINK = 0.75;
const MIN_WIDTH = 64;

export interface PreviewOptions {
  /** Pixels. A narrower picture keeps its width. */
  width: number;
  maxBytes: number;
}

/**
 * Scales a picture down until its JPEG fits into `maxBytes`: first by lowering the quality, then the width.
 * @throws Error when the bytes are no picture, or no preview is small enough
 */
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
