/** The widest and highest preview, pixels. A picture of 64 KiB that claims more is meant to exhaust whoever opens it. */
export const MAX_PREVIEW_PIXELS = 4096;

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;

/**
 * What is wrong with bytes that are to be a JPEG, or undefined. Reads its markers (ISO/IEC 10918-1, B.1.1.3) as far as
 * its scan, so that what is kept and served as a picture is one, has a sane size and was not cut off on the way.
 */
export function jpegProblem(bytes: Uint8Array, maxPixels = MAX_PREVIEW_PIXELS): string | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== SOI) return "is no JPEG: it does not begin like one";
  let framed = false;
  let at = 2;
  for (;;) {
    if (bytes[at] !== 0xff) return "is no JPEG: a marker is missing where one must be";
    // Any number of 0xff may precede a marker.
    while (bytes[at] === 0xff) at++;
    const marker = bytes[at];
    const length = word(bytes, at + 1);
    if (marker === undefined || length === undefined || at + 1 + length > bytes.length)
      return "is a JPEG that was cut off";
    if (length < 2) return "is no JPEG: a segment has no length";
    if (isFrame(marker)) {
      const [height, width] = [word(bytes, at + 4), word(bytes, at + 6)];
      if (!height || !width) return "is a JPEG without a size";
      if (height > maxPixels || width > maxPixels)
        return `is ${width} × ${height} pixels, more than ${maxPixels} × ${maxPixels}`;
      framed = true;
    }
    at += 1 + length;
    if (marker === SOS) break;
  }
  if (!framed) return "is a JPEG without a size";
  return endsWell(bytes) ? undefined : "is a JPEG that was cut off";
}

/** SOF0 to SOF15; three numbers among them mean something else: DHT, JPG and DAC. */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function word(bytes: Uint8Array, at: number): number | undefined {
  const [high, low] = [bytes[at], bytes[at + 1]];
  return high === undefined || low === undefined ? undefined : high * 256 + low;
}

/** Some cameras fill up the last block with zeros. */
function endsWell(bytes: Uint8Array): boolean {
  let last = bytes.length - 1;
  while (bytes[last] === 0) last--;
  return bytes[last] === EOI && bytes[last - 1] === 0xff;
}
