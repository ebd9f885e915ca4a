/** A minimal JPEG with a text, for code that reads markers but does not decode. */
export function smallJpeg(
  text: string,
  { width = 320, height = 240, bytes }: { width?: number; height?: number; bytes?: number } = {},
): Buffer {
  const around = SOI.length + 4 + frame(width, height).length + SCAN.length + EOI.length;
  const comment = Buffer.from(bytes === undefined ? text : text.padEnd(bytes - around, "."));
  return Buffer.concat([SOI, segment(0xfe, comment), frame(width, height), SCAN, EOI]);
}

const SOI = Buffer.of(0xff, 0xd8);
const EOI = Buffer.of(0xff, 0xd9);
const SCAN = Buffer.concat([segment(0xda, Buffer.of(1, 1, 0, 0, 63, 0)), Buffer.of(0x2a, 0x55)]);

function frame(width: number, height: number): Buffer {
  return segment(0xc0, Buffer.of(8, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0));
}

function segment(marker: number, content: Buffer): Buffer {
  const length = content.length + 2;
  return Buffer.concat([Buffer.of(0xff, marker, length >> 8, length & 255), content]);
}
