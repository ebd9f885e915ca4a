import { pino } from "pino";
import { ulid } from "ulid";
import { ImageStore } from "../../device/capture/image-store.ts";

/** Each picture repeats its own name, so that a test can check the completeness of the picture. */
export const PICTURE_BYTES = 300_000;

/**
 * Stores pictures one after the other, as fast as the disk allows, until the program is killed: `picture-program
 * <folder>`. Prints the name of each picture, with an exclamation mark before the name if storing failed.
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
