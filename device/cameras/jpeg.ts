import { JpegError, readJpeg } from "../../platform/jpeg.ts";

/** The bytes are no complete JPEG. The message says what they are instead. */
export class NoJpegError extends Error {
  override name = "NoJpegError";
}

/**
 * The size of a picture. Checks the JPEG's markers, so that an incomplete picture is rejected.
 * @param source where the bytes come from, for the error
 * @throws {NoJpegError}
 */
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
