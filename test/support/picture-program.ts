import { pino } from "pino";
import { ulid } from "ulid";
import { ImageStore } from "../../device/capture/image-store.ts";

/** Each picture is its own name over and over, so that it can be seen whether it is whole. */
export const PICTURE_BYTES = 300_000;

/**
 * Keeps pictures, one after the other, as fast as the disk takes them, until it is killed: `picture-program <folder>`.
 * Each is named on a line of its own once it is kept, and each that was not, after an exclamation mark.
 */
const [dataPath = ""] = process.argv.slice(2);
const store = new ImageStore({ dataPath, logger: pino({ level: "silent" }) });
await store.prepare();
for (;;) {
  const at = new Date();
  const capture = ulid(at.getTime()).toLowerCase();
  const sidecar = {
    capture,
    camera: "north",
    taken_at: at.toISOString(),
    width: 640,
    height: 480,
    size_bytes: PICTURE_BYTES,
    settings: {},
    model: "A program",
    location: { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" },
    clock_set: true,
  };
  const kept = await store.save(Buffer.alloc(PICTURE_BYTES, capture), sidecar).then(
    () => true,
    () => false,
  );
  process.stdout.write(`${kept ? "" : "!"}${capture}\n`);
}
