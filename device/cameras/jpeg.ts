import sharp from "sharp";

/** Cameras append thumbnails and notes to a picture; the end of the picture itself is looked for in so much of its end. */
const END_WITHIN_BYTES = 1024 * 1024;

/** Bytes that are no whole JPEG; the message says what they are. */
export class NoJpegError extends Error {
  override name = "NoJpegError";
}

/**
 * The size of a picture, after a look at its first and last bytes: half a picture is none.
 * @param source names it in the error
 * @throws {NoJpegError}
 */
export async function measureJpeg(bytes: Buffer, source: string): Promise<{ width: number; height: number }> {
  if (bytes.length === 0) throw new NoJpegError(`${source} delivered nothing`);
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8 || bytes[2] !== 0xff)
    throw new NoJpegError(
      `${source} delivered no JPEG: its first bytes are ${bytes.subarray(0, 4).toString("hex")}` +
        " (is the camera set to raw pictures?)",
    );
  const tail = bytes.subarray(Math.max(startOfScan(bytes), bytes.length - END_WITHIN_BYTES));
  if (tail.lastIndexOf(Buffer.from([0xff, 0xd9])) < 0)
    throw new NoJpegError(`${source} delivered a JPEG without its end: ${bytes.length} bytes`);
  try {
    const { width, height } = await sharp(bytes).metadata();
    return { width, height };
  } catch (error) {
    throw new NoJpegError(
      `${source} delivered a JPEG that cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Where the picture itself begins: the thumbnail in the notes before it has an end of its own, which is not the picture's. */
function startOfScan(bytes: Buffer): number {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1] ?? 0;
    if (marker === 0xda || marker < 0xc0) break;
    // Any number of 0xff may stand before a marker.
    at += marker === 0xff ? 1 : 2 + bytes.readUInt16BE(at + 2);
  }
  return Math.min(at, bytes.length);
}
