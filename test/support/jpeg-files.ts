import sharp, { type JpegOptions, type Sharp } from "sharp";

/** A picture with enough detail to cut its scan anywhere. */
async function photograph(): Promise<Sharp> {
  const [width, height] = [160, 120];
  const pixels = Buffer.alloc(width * height * 3);
  for (let at = 0; at < pixels.length; at++) pixels[at] = (at * 31 + ((at * at) >> 7)) & 255;
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

/**
 * Unusual files that browsers and libjpeg accept. Each key says what is unusual about the file. Real cameras and
 * streams make such files.
 */
export async function wholeJpegs(): Promise<ReadonlyMap<string, Buffer>> {
  const photo = await photograph();
  const encoded = (options: JpegOptions) => photo.clone().jpeg(options).toBuffer();
  const baseline = await encoded({});
  const progressive = await encoded({ progressive: true });
  const thumbnail = await sharp(baseline).resize(32).jpeg().toBuffer();
  return new Map([
    ["baseline", baseline],
    ["progressive", progressive],
    ["MozJPEG", await encoded({ mozjpeg: true })],
    ["grey", await photo.clone().greyscale().jpeg().toBuffer()],
    ["without chroma subsampling", await encoded({ chromaSubsampling: "4:4:4" })],
    ["with a line break after its end", Buffer.concat([baseline, Buffer.from("\n")])],
    ["with the boundary of a stream after its end", Buffer.concat([baseline, Buffer.from("\r\n--boundary")])],
    ["with a maker's trailer of 8 kB", Buffer.concat([progressive, Buffer.alloc(8192, "DAHUA\xff\xd8\xff\x02")])],
    ["with a second picture behind it", Buffer.concat([baseline, thumbnail])],
    ["with zeros after its end", Buffer.concat([baseline, Buffer.alloc(512)])],
    ["with fill bytes before every marker", withFillBytes(baseline)],
    ["with fill bytes before the end of its scan", withFillBytes(progressive)],
    ["with stray bytes between segments", insertAt(baseline, 2 + segmentBytes(baseline, 2), Buffer.from("??"))],
    [
      "with a thumbnail in its metadata",
      insertAt(baseline, 2, segment(0xe1, Buffer.concat([Buffer.from("Exif\0\0"), thumbnail]))),
    ],
    ["with restart markers", withRestartMarkers()],
  ]);
}

/** Incomplete or unsupported files, with the expected error. */
export async function brokenJpegs(): Promise<ReadonlyMap<string, { bytes: Buffer; says: string }>> {
  const photo = await photograph();
  const whole = await photo.clone().jpeg().toBuffer();
  const progressive = await photo.clone().jpeg({ progressive: true }).toBuffer();
  const thumbnail = await sharp(whole).resize(32).jpeg().toBuffer();
  const noted = insertAt(whole, 2, segment(0xe1, Buffer.concat([Buffer.from("Exif\0\0"), thumbnail])));
  const half = whole.subarray(0, whole.length / 2);
  const frame = whole.indexOf(Buffer.of(0xff, 0xc0));
  const twelveBits = Buffer.from(whole);
  twelveBits[frame + 4] = 12;
  const arithmetic = Buffer.from(whole);
  arithmetic[frame + 1] = 0xc9;
  return new Map([
    ["cut in its scan", { bytes: half, says: "without its end" }],
    ["cut before the last byte", { bytes: whole.subarray(0, -1), says: "without its end" }],
    ["progressive, cut between two scans", { bytes: progressive.subarray(0, -2), says: "without its end" }],
    ["cut after the thumbnail in its metadata", { bytes: noted.subarray(0, -500), says: "without its end" }],
    [
      "cut, with the boundary of a stream behind it",
      { bytes: Buffer.concat([half, Buffer.from("\r\n--b")]), says: "without its end" },
    ],
    ["cut, with the next picture behind it", { bytes: Buffer.concat([half, whole]), says: "without its end" }],
    ["cut, and filled up with zeros", { bytes: Buffer.concat([half, Buffer.alloc(4096)]), says: "without its end" }],
    ["of 12 bits a sample", { bytes: twelveBits, says: "browsers do not show" }],
    ["coded arithmetically", { bytes: arithmetic, says: "browsers do not show" }],
    [
      "without a scan",
      { bytes: Buffer.concat([whole.subarray(0, frame + 19), Buffer.of(0xff, 0xd9)]), says: "without a picture" },
    ],
    ["of 882 scans", { bytes: manyScans(4096, 2048, 882), says: "more than 100 scans" }],
  ]);
}

/**
 * A grey picture that has one scan for each bit of the coefficients. It is valid by ISO/IEC 10918-1, but slow, because
 * a decoder walks all blocks once per scan.
 */
export function manyScans(width: number, height: number, scans: number): Buffer {
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8);
  const parts = [
    Buffer.of(0xff, 0xd8),
    segment(0xdb, Buffer.concat([Buffer.of(0), Buffer.alloc(64, 16)])),
    segment(0xc2, Buffer.of(8, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0)),
    huffmanTable(0x00, 0x00),
    // A run of at least 16,384 empty blocks in one code.
    huffmanTable(0x10, 0xe0),
    scanOf([0, 0, 0], Buffer.alloc(Math.ceil(blocks / 8))),
  ];
  const empty = emptyBlocks(blocks);
  let written = 1;
  for (let bit = 13; bit >= 0; bit--)
    for (let coefficient = 1; coefficient < 64 && written < scans; coefficient++, written++)
      parts.push(scanOf([coefficient, coefficient, bit === 13 ? bit : ((bit + 1) << 4) | bit], empty));
  return Buffer.concat([...parts, Buffer.of(0xff, 0xd9)]);
}

function emptyBlocks(blocks: number): Buffer {
  let bits = "";
  for (let left = blocks; left > 0; ) {
    const run = Math.min(left, 20_000);
    bits += `0${Math.max(0, run - 16_384)
      .toString(2)
      .padStart(14, "0")}`;
    left -= Math.max(run, 16_384);
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1");
  const bytes = Array.from({ length: bits.length / 8 }, (_, index) =>
    Number.parseInt(bits.slice(index * 8, index * 8 + 8), 2),
  );
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [byte, 0] : [byte])));
}

/** A grey picture of four empty blocks, with a restart marker after each block. */
function withRestartMarkers(): Buffer {
  const scan = Array.from({ length: 4 }, (_, index) =>
    // The DC difference is 0 (code 0) and the block ends (code 0); ones fill the byte.
    Buffer.of(0x3f, ...(index === 3 ? [] : [0xff, 0xd0 + index])),
  );
  return Buffer.concat([
    Buffer.of(0xff, 0xd8),
    segment(0xdb, Buffer.concat([Buffer.of(0), Buffer.alloc(64, 16)])),
    segment(0xc0, Buffer.of(8, 0, 8, 0, 32, 1, 1, 0x11, 0)),
    huffmanTable(0x00, 0x00),
    huffmanTable(0x10, 0x00),
    segment(0xdd, Buffer.of(0, 1)),
    scanOf([0, 63, 0], Buffer.concat(scan)),
    Buffer.of(0xff, 0xd9),
  ]);
}

/** A table of one code with one bit. */
function huffmanTable(id: number, symbol: number): Buffer {
  return segment(0xc4, Buffer.concat([Buffer.of(id, 1), Buffer.alloc(15), Buffer.of(symbol)]));
}

function scanOf([first, last, bits]: [number, number, number], data: Buffer): Buffer {
  return Buffer.concat([segment(0xda, Buffer.of(1, 1, 0, first, last, bits)), data]);
}

/** Inserts three more 0xff before each marker that begins a segment, and before the end. */
function withFillBytes(jpeg: Buffer): Buffer {
  const fill = Buffer.alloc(3, 0xff);
  const parts: Buffer[] = [];
  let from = 0;
  for (let at = 2; at < jpeg.length - 1; at++) {
    const marker = jpeg[at + 1] ?? 0;
    if (jpeg[at] !== 0xff || marker === 0 || (marker >= 0xd0 && marker <= 0xd7)) continue;
    parts.push(jpeg.subarray(from, at), fill);
    from = at;
    at += marker === 0xd9 ? 2 : 1 + segmentBytes(jpeg, at) - 2;
  }
  return Buffer.concat([...parts, jpeg.subarray(from)]);
}

function segmentBytes(jpeg: Buffer, at: number): number {
  return 2 + jpeg.readUInt16BE(at + 2);
}

function insertAt(jpeg: Buffer, at: number, bytes: Buffer): Buffer {
  return Buffer.concat([jpeg.subarray(0, at), bytes, jpeg.subarray(at)]);
}

function segment(marker: number, content: Buffer): Buffer {
  const length = content.length + 2;
  return Buffer.concat([Buffer.of(0xff, marker, length >> 8, length & 255), content]);
}
