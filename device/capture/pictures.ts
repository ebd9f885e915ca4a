import { createHash } from "node:crypto";
import type { Logger } from "pino";
import { encodeTime, ulid } from "ulid";
import type { WantedSettings } from "../../contract/commands.ts";
import type { CaptureCompleted } from "../../contract/events.ts";
import type { Location } from "../../contract/schedule/sun.ts";
import { messageOf } from "../../platform/errors.ts";
import type { CameraDriver, FoundPicture, Frame } from "../cameras/camera-driver.ts";
import type { DeviceClock } from "../host/clock.ts";
import { createPreview, type PreviewOptions } from "../link/previews.ts";
import type { EventOptions, Sender } from "../link/sender.ts";
import type { ImageStore } from "./image-store.ts";

/** The contract's longest exposure plus a minute. */
const CAPTURE_TIMEOUT_MS = 660_000;
const ULID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const ULID_RANDOM = 16;
const MAX_ERROR_CHARACTERS = 2000;

export interface PreviewConfig extends PreviewOptions {
  /** One scheduled picture in this many has a preview. 0: none. */
  every: number;
  /** Whether `capture.now` and `preview.send` send a preview. Default true. */
  onDemand?: boolean;
}

export interface PicturesOptions {
  id: string;
  location: Location;
  preview: PreviewConfig;
  camera: CameraDriver;
  sender: Sender;
  images: ImageStore | undefined;
  settings: () => WantedSettings;
  clock: DeviceClock;
  logger: Logger;
}

/** Takes pictures one at a time, stores them, publishes their events, and sends previews within the data budget. */
export class Pictures {
  readonly #options: PicturesOptions;
  #taken = 0;
  #failures = 0;
  #stopped = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: PicturesOptions) {
    this.#options = options;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Resolves when the pictures requested so far are finished. */
  async idle(): Promise<void> {
    await this.#last;
  }

  resetCount(): void {
    this.#taken = 0;
  }

  stop(): void {
    this.#stopped = true;
  }

  /**
   * Takes a picture for a command. @throws Error when the camera fails, after `capture.failed` was published
   * @param onBegin is awaited before the picture is taken
   */
  now(onBegin?: (capture: string) => Promise<void>): Promise<CaptureCompleted> {
    const { onDemand = true } = this.#options.preview;
    return this.#inTurn(() => this.#capture(onDemand, onBegin));
  }

  async due(): Promise<number> {
    try {
      await this.#inTurn(() => this.#capture(this.#isPreviewDue()));
    } catch {}
    return this.#failures;
  }

  /** Stores and publishes another program's picture. @param dedupKey stored in the same write as the event */
  takeOver(picture: FoundPicture, dedupKey: string): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#stopped) throw new Error("the camera is stopping");
      const preview = this.#isPreviewDue();
      const capture = captureIdOf(picture);
      const completed = await this.#store(capture, picture, picture.takenAt);
      await this.#publish("capture.completed", completed, { at: picture.takenAt, dedupKey });
      this.#taken++;
      if (preview) await this.#sendPreview(capture, picture.jpeg, picture.takenAt);
    });
  }

  /** Sends the preview of a stored picture, by default the newest. @throws Error when there is no such picture */
  async sendAgain(capture?: string): Promise<{ capture: string }> {
    const { preview, images } = this.#options;
    if (preview.every === 0 && preview.onDemand === false)
      throw new Error("this camera sends no previews: PREVIEW_BUDGET is off");
    if (images === undefined) throw new Error("this camera stores no pictures");
    const found = await images.find(capture);
    if (found === undefined)
      throw new Error(capture === undefined ? "no picture was taken yet" : `no picture ${capture}`);
    await this.#sendPreview(found.capture, found.jpeg);
    return { capture: found.capture };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  #isPreviewDue(): boolean {
    const { every } = this.#options.preview;
    return every > 0 && this.#taken % every === 0;
  }

  async #capture(preview: boolean, onBegin?: (capture: string) => Promise<void>): Promise<CaptureCompleted> {
    if (this.#stopped) throw new Error("the camera is stopping");
    const { camera, settings, clock, logger } = this.#options;
    const at = clock.now();
    const capture = ulid(at.getTime()).toLowerCase();
    await onBegin?.(capture);
    void this.#publish("capture.started", { capture });
    let frame: Frame;
    let completed: CaptureCompleted;
    try {
      frame = await withTimeout(camera.capture(settings(), at), CAPTURE_TIMEOUT_MS);
      completed = await this.#store(capture, frame, at);
    } catch (error) {
      const reason = messageOf(error);
      this.#failures++;
      logger.warn({ capture, reason, failures: this.#failures }, "capture failed");
      const data = { capture, error: reason.slice(0, MAX_ERROR_CHARACTERS), failures: this.#failures };
      void this.#publish("capture.failed", data);
      throw error;
    }
    this.#failures = 0;
    this.#taken++;
    void this.#publish("capture.completed", completed);
    if (preview) await this.#sendPreview(capture, frame.jpeg);
    return completed;
  }

  async #store(capture: string, { jpeg, width, height, settings }: Frame, at: Date): Promise<CaptureCompleted> {
    const { id, location, camera, images, clock } = this.#options;
    const completed: CaptureCompleted = { capture, width, height, size_bytes: jpeg.length, settings };
    const { model } = camera.about;
    const taken_at = at.toISOString();
    try {
      const sidecar = { ...{ capture, camera: id, taken_at }, ...completed, model, location, clock_set: clock.usable };
      await images?.save(jpeg, sidecar);
    } catch (error) {
      throw new Error(`the picture could not be stored: ${messageOf(error)}`, { cause: error });
    }
    return completed;
  }

  /** Never rejects: a capture succeeds even without its preview. */
  async #sendPreview(capture: string, jpeg: Buffer, takenAt?: Date): Promise<void> {
    const { id, preview, sender, logger } = this.#options;
    try {
      const small = await createPreview(jpeg, preview);
      sender.preview({ kind: "camera-preview", camera: id, capture }, small, takenAt);
    } catch (error) {
      const reason = messageOf(error);
      logger.warn({ capture, reason }, "preview failed");
      const data = { source: "preview", capture, error: reason.slice(0, MAX_ERROR_CHARACTERS) };
      void this.#publish("error.occurred", data);
    }
  }

  #publish(event: string, data: unknown, options: EventOptions = {}): Promise<void> {
    const { id, sender } = this.#options;
    return sender.event({ kind: "camera-event", camera: id, event }, event, data, options);
  }
}

/** A ULID of time and name, so that a picture found again has the same id. */
function captureIdOf({ name, takenAt }: FoundPicture): string {
  const hash = createHash("sha256").update(name).digest();
  const random = Array.from(hash.subarray(0, ULID_RANDOM), (byte) => ULID_DIGITS[byte % 32]).join("");
  return `${encodeTime(Math.max(0, Math.round(takenAt.getTime()))).toLowerCase()}${random}`;
}

async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the camera delivered no picture within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
