/** Markers of a JPEG (ISO/IEC 10918-1, table B.1). */
const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const TEM = 0x01;
const PREFIX = 0xff;

/**
 * A decoder processes all blocks once per scan, so a file of 65 kB with a thousand scans takes minutes. Encoders write
 * about 10 scans. libjpeg-turbo took 0.5 s to decode 100 scans of 16 megapixels.
 */
const MAX_SCANS = 100;

interface Picture {
  width: number;
  height: number;
  scans: number;
  /** The bytes up to and including EOI. Some makers and streams append other bytes. */
  pictureBytes: number;
}

interface JpegLimits {
  /** The largest width and height. Default: 65,535, the limit of the format. */
  maxPixels?: number;
  maxScans?: number;
}

/** The bytes are no acceptable picture. The message is a noun phrase: "a JPEG without its end: 200 bytes". */
export class JpegError extends Error {
  override name = "JpegError";
}

/**
 * Reads the markers of a picture without decoding it. Accepts what libjpeg and browsers accept: fill bytes before
 * markers, stray bytes between segments, restart markers, thumbnails inside segments, any bytes after EOI.
 * @throws {JpegError}
 */
export function readJpeg(bytes: Uint8Array, { maxPixels = 65_535, maxScans = MAX_SCANS }: JpegLimits = {}): Picture {
  if (bytes.length === 0) throw new JpegError("no JPEG: it is empty");
  if (bytes[0] !== PREFIX || bytes[1] !== SOI || (bytes.length > 2 && bytes[2] !== PREFIX))
    throw new JpegError(`no JPEG: its first bytes are ${Buffer.from(bytes.subarray(0, 4)).toString("hex")}`);
  let size: { width: number; height: number } | undefined;
  let scans = 0;
  for (let at = markerFrom(bytes, 2); ; at = markerFrom(bytes, at)) {
    const marker = bytes[at];
    if (marker === undefined) throw endless(bytes);
    at++;
    if (marker === EOI) {
      if (size === undefined) throw new JpegError("a JPEG without a size");
      if (scans === 0) throw new JpegError("a JPEG without a picture in it");
      return { ...size, scans, pictureBytes: at };
    }
    if (isAlone(marker)) continue;
    if (marker === SOI) throw new JpegError("a JPEG without its end: another JPEG begins before the end");
    if (!isSegment(marker)) throw new JpegError(`a damaged JPEG: it has an unknown marker (ff${marker.toString(16)})`);
    const end = at + segmentLength(bytes, at);
    if (isFrame(marker)) {
      if (size !== undefined) throw new JpegError("a damaged JPEG: it has two frames");
      size = sizeOf(bytes, at, marker, maxPixels);
    }
    if (marker === SOS) {
      if (size === undefined) throw new JpegError("a JPEG without a size");
      if (++scans > maxScans)
        throw new JpegError(`a JPEG of more than ${maxScans} scans, which would take too long to decode`);
    }
    at = end;
  }
}

/** The index of the second byte of the next marker. Skips fill bytes (0xff) and data bytes 0xff, written as ff00. */
function markerFrom(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(PREFIX, from); at >= 0; at = bytes.indexOf(PREFIX, at)) {
    while (bytes[at] === PREFIX) at++;
    if (bytes[at] !== 0) return at;
  }
  return bytes.length;
}

/** Includes the two length bytes. @throws {JpegError} the segment is truncated */
function segmentLength(bytes: Uint8Array, at: number): number {
  const length = word(bytes, at);
  if (length === undefined) throw endless(bytes);
  if (length < 2) throw new JpegError("a damaged JPEG: one of its segments has no length");
  if (at + length > bytes.length) throw endless(bytes);
  return length;
}

/** @throws {JpegError} browsers cannot decode the frame, or it is too large */
function sizeOf(bytes: Uint8Array, at: number, marker: number, maxPixels: number): { width: number; height: number } {
  // SOF0 to SOF2: baseline, extended and progressive with Huffman codes.
  if (marker > 0xc2 || bytes[at + 2] !== 8)
    throw new JpegError(`a JPEG that browsers do not show: SOF${marker - 0xc0} with ${bytes[at + 2]} bits a sample`);
  const [height, width] = [word(bytes, at + 3), word(bytes, at + 5)];
  if (!height || !width) throw new JpegError("a JPEG without a size");
  if (height > maxPixels || width > maxPixels)
    throw new JpegError(`a JPEG of ${width} × ${height} pixels, more than ${maxPixels} × ${maxPixels}`);
  return { width, height };
}

/** Markers without a segment: RST0 to RST7 occur within a scan, TEM anywhere. */
function isAlone(marker: number): boolean {
  return (marker >= 0xd0 && marker <= 0xd7) || marker === TEM;
}

/** The segments that libjpeg knows: SOF0 to SOF15, DHT, DAC, SOS, DQT, DNL, DRI, APP0 to APP15, COM. */
function isSegment(marker: number): boolean {
  return (
    (marker >= 0xc0 && marker <= 0xcf) ||
    (marker >= SOS && marker <= 0xdd) ||
    (marker >= 0xe0 && marker <= 0xef) ||
    marker === 0xfe
  );
}

/** SOF0 to SOF15. Three numbers in this range are DHT, JPG and DAC. */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function word(bytes: Uint8Array, at: number): number | undefined {
  const [high, low] = [bytes[at], bytes[at + 1]];
  return high === undefined || low === undefined ? undefined : high * 256 + low;
}

function endless({ length }: Uint8Array): JpegError {
  return new JpegError(`a JPEG without its end: ${length} bytes`);
}
