import { createHash } from "node:crypto";
import type { Logger } from "pino";
import { encodeTime, ulid } from "ulid";
import type { WantedSettings } from "../../contract/commands.ts";
import type { CaptureCompleted } from "../../contract/events.ts";
import type { CameraDriver, FoundPicture, Frame } from "../cameras/camera-driver.ts";
import { createPreview } from "../cameras/previews.ts";
import type { CameraConfig } from "../config.ts";
import type { DeviceClock } from "../host/clock.ts";
import type { Sender } from "../link/sender.ts";
import type { ImageStore } from "./image-store.ts";

/** A camera that has not delivered a picture by then has failed: the longest exposure of the contract, and a minute. */
const CAPTURE_TIMEOUT_MS = 660_000;
/** The digits of a ULID, and how many of them are not its time. */
const ULID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const ULID_RANDOM = 16;

export interface PicturesOptions {
  config: Pick<CameraConfig, "id" | "preview" | "location">;
  camera: CameraDriver;
  sender: Sender;
  /** Undefined: the pictures themselves are not kept. */
  images: ImageStore | undefined;
  settings: () => WantedSettings;
  clock: DeviceClock;
  logger: Logger;
}

/** Takes pictures, one at a time, keeps them, says so, and sends their previews as far as the data budget goes. */
export class Pictures {
  readonly #options: PicturesOptions;
  readonly #logger: Logger;
  #taken = 0;
  #failures = 0;
  #stopped = false;
  /** The picture that is being taken, and those that wait for it. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: PicturesOptions) {
    this.#options = options;
    this.#logger = options.logger;
  }

  /** Since the boot. */
  get taken(): number {
    return this.#taken;
  }

  /** Resolves when the pictures that were asked for are taken, or have failed. */
  async idle(): Promise<void> {
    await this.#last;
  }

  startCounting(): void {
    this.#taken = 0;
  }

  /** From now on none is begun. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * @param begin told the picture's name, and waited for, before it is taken
   * @throws Error when the camera fails; `capture.failed` has been said
   */
  now(begin?: (capture: string) => Promise<void>): Promise<CaptureCompleted> {
    const { onDemand = true } = this.#options.config.preview;
    return this.#inTurn(() => this.#capture({ preview: onDemand, ...(begin === undefined ? {} : { begin }) }));
  }

  /** One that is due by the schedule. @returns the failures in a row up to and with it */
  async due(): Promise<number> {
    try {
      await this.#inTurn(() => this.#capture({ preview: this.#previewIsDue() }));
    } catch {
      // It was said and logged where it happened.
    }
    return this.#failures;
  }

  /** One that was taken by somebody else. @param mark remembered in the same write as that it was taken over */
  takeOver(picture: FoundPicture, mark: string): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#stopped) throw new Error("the camera is stopping");
      const preview = this.#previewIsDue();
      const capture = captureOf(picture);
      const completed = await this.#keep(capture, picture, picture.takenAt);
      await this.#event("capture.completed", completed, { at: picture.takenAt, mark });
      this.#taken++;
      if (preview) await this.#sendPreview(capture, picture.jpeg, picture.takenAt);
    });
  }

  /** Sends a picture that is kept. @throws Error when there is none, or previews are off */
  async sendAgain(capture?: string): Promise<{ capture: string }> {
    const { config, images } = this.#options;
    if (config.preview.every === 0 && config.preview.onDemand === false)
      throw new Error("this camera sends no previews: PREVIEW_BUDGET is off");
    if (images === undefined) throw new Error("this camera keeps no pictures");
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

  #previewIsDue(): boolean {
    const { every } = this.#options.config.preview;
    return every > 0 && this.#taken % every === 0;
  }

  async #capture({
    preview,
    begin,
  }: {
    preview: boolean;
    begin?: (capture: string) => Promise<void>;
  }): Promise<CaptureCompleted> {
    if (this.#stopped) throw new Error("the camera is stopping");
    const { camera, settings, clock } = this.#options;
    const at = clock.now();
    const capture = ulid(at.getTime()).toLowerCase();
    await begin?.(capture);
    void this.#event("capture.started", { capture });
    let frame: Frame;
    let completed: CaptureCompleted;
    try {
      frame = await orTimeout(camera.capture(settings(), at), CAPTURE_TIMEOUT_MS);
      completed = await this.#keep(capture, frame, at);
    } catch (error) {
      const reason = reasonOf(error);
      this.#failures++;
      this.#logger.warn({ capture, reason, failures: this.#failures }, "capture failed");
      void this.#event("capture.failed", { capture, error: reason.slice(0, 2000), failures: this.#failures });
      throw error;
    }
    this.#failures = 0;
    this.#taken++;
    void this.#event("capture.completed", completed);
    if (preview) await this.#sendPreview(capture, frame.jpeg);
    return completed;
  }

  async #keep(capture: string, { jpeg, width, height, settings }: Frame, at: Date): Promise<CaptureCompleted> {
    const { config, camera, images, clock } = this.#options;
    const completed: CaptureCompleted = { capture, width, height, size_bytes: jpeg.length, settings };
    try {
      await images?.keep(jpeg, {
        ...{ capture, camera: config.id, taken_at: at.toISOString() },
        ...{ width, height, size_bytes: jpeg.length, settings },
        ...{ model: camera.about.model, location: config.location, clock_set: clock.usable },
      });
    } catch (error) {
      throw new Error(`the picture could not be kept: ${reasonOf(error)}`, { cause: error });
    }
    return completed;
  }

  /** A picture without a preview is still a picture: a failure here is no failure of the capture. */
  async #sendPreview(capture: string, jpeg: Buffer, takenAt?: Date): Promise<void> {
    const { config, sender } = this.#options;
    try {
      const small = await createPreview(jpeg, config.preview);
      sender.preview({ kind: "camera-preview", camera: config.id, capture }, small, takenAt);
    } catch (error) {
      const reason = reasonOf(error);
      this.#logger.warn({ capture, reason }, "no preview");
      void this.#event("error.occurred", { source: "preview", capture, error: reason.slice(0, 2000) });
    }
  }

  #event(event: string, data: unknown, options: { at?: Date; mark?: string } = {}): Promise<void> {
    const { config, sender } = this.#options;
    return sender.event({ kind: "camera-event", camera: config.id, event }, event, data, options);
  }
}

/** The same name for the same picture, however often it is found: a ULID of its time, and of what it is called. */
function captureOf({ name, takenAt }: FoundPicture): string {
  const hash = createHash("sha256").update(name).digest();
  const random = Array.from(hash.subarray(0, ULID_RANDOM), (byte) => ULID_DIGITS[byte % 32]).join("");
  return `${encodeTime(Math.max(0, Math.round(takenAt.getTime()))).toLowerCase()}${random}`;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function orTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
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
