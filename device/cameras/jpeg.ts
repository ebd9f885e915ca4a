import { JpegError, readJpeg } from "../../platform/jpeg.ts";

/** The message says what the bytes are instead of a complete JPEG. */
export class NoJpegError extends Error {
  override name = "NoJpegError";
}

/** Measures a picture, and rejects an incomplete one by its markers. @throws {NoJpegError} */
export function measureJpeg(bytes: Uint8Array, source: string): { width: number; height: number } {
  if (bytes.length === 0) throw new NoJpegError(`${source} delivered nothing`);
  try {
    const { width, height } = readJpeg(bytes);
    return { width, height };
  } catch (error) {
    if (!(error instanceof JpegError)) throw error;
    const raw = bytes[0] === 0xff ? "" : " (is the camera set to raw pictures?)";
    throw new NoJpegError(`${source} delivered ${error.message}${raw}`, { cause: error });
  }
}
