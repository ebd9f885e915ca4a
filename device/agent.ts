import type { Logger } from "pino";
import { ulid } from "ulid";
import { type CommandReply, commandArgs, type Schedule } from "../contract/commands.ts";
import type {
  CameraAbout,
  CameraSettings,
  CaptureCompleted,
  CaptureProgress,
  Environment,
} from "../contract/events.ts";
import { topicTree } from "../contract/topics.ts";
import { type CameraStore, openCameraStore } from "./camera-store.ts";
import type { CameraDriver, Frame } from "./cameras/camera-driver.ts";
import { CaptureLoop, type Plan } from "./capture-loop.ts";
import { action, CommandDesk } from "./commands.ts";
import type { CameraConfig } from "./config.ts";
import { MemoryOutbox } from "./memory-outbox.ts";
import { createPreview } from "./previews.ts";
import { everyDay } from "./schedule.ts";
import { Sender } from "./sender.ts";
import { nextGoldenHour, sunPosition } from "./sun.ts";

/** A camera that has not delivered a picture by then has failed: the longest exposure of the contract, and a minute. */
const CAPTURE_TIMEOUT_MS = 660_000;
const DEFAULT_REBOOT_MS = 2000;
/** How long `stop` waits for a picture that is being taken, milliseconds. */
const STOP_CAPTURE_MS = 500;

export interface CameraAgent {
  readonly id: string;
  /** Names the current boot; a `reboot` changes it. */
  readonly session: string;
  /**
   * Takes a picture now, after one that is being taken, and sends its preview.
   * @throws Error when the camera fails; `capture.failed` has been said
   */
  captureNow(): Promise<CaptureCompleted>;
  /** Ends captures, sends what it can, says `offline` and disconnects, within some 2 s. Idempotent. */
  stop(): Promise<void>;
}

export interface CameraOptions {
  config: CameraConfig;
  camera: CameraDriver;
  logger: Logger;
  /** Default: the system's clock. */
  now?: () => Date;
}

/**
 * Starts a camera. Resolves before there is a link: a camera without one takes its pictures all the same.
 * @throws when `config.dataPath` cannot be used
 */
export async function startCamera({
  config,
  camera,
  logger,
  now = () => new Date(),
}: CameraOptions): Promise<CameraAgent> {
  const log = logger.child({ camera: config.id });
  const store = await openCameraStore(config.dataPath, config.id, log);
  const agent = new Agent(config, camera, store, log, now);
  agent.start();
  return agent;
}

class Agent implements CameraAgent {
  readonly id: string;
  readonly #config: CameraConfig;
  readonly #camera: CameraDriver;
  readonly #store: CameraStore;
  readonly #logger: Logger;
  readonly #now: () => Date;
  readonly #sender: Sender;
  readonly #desk: CommandDesk;
  readonly #loop: CaptureLoop;
  #plan: Plan = { active: false, next: undefined };
  #readings: NodeJS.Timeout | undefined;
  #captures = 0;
  #failures = 0;
  /** The picture that is being taken, and those that wait for it. */
  #lastCapture: Promise<unknown> = Promise.resolve();
  readonly #stopSignal = new AbortController();
  #stopping: Promise<void> | undefined;

  constructor(config: CameraConfig, camera: CameraDriver, store: CameraStore, logger: Logger, now: () => Date) {
    this.id = config.id;
    this.#config = config;
    this.#camera = camera;
    this.#store = store;
    this.#logger = logger;
    this.#now = now;
    this.#sender = new Sender({
      brokerUrl: config.brokerUrl,
      tree: topicTree(config.topicRoot),
      owner: { kind: "camera", id: config.id },
      secret: config.secret,
      outbox: new MemoryOutbox({ maxBytes: config.outboxBytes }),
      onCommand: (command, payload) => this.#desk.receive(command, payload),
      onUp: () => this.#announce(),
      reconnect: config.reconnect,
      now,
      logger,
    });
    this.#desk = new CommandDesk({
      actions: {
        "capture.now": action(commandArgs["capture.now"], () => this.captureNow()),
        "schedule.set": action(commandArgs["schedule.set"], (schedule) => this.#setSchedule(schedule)),
        "settings.set": action(commandArgs["settings.set"], (settings) => this.#setSettings(settings)),
        reboot: action(commandArgs.reboot, () => this.#reboot()),
      },
      answer: (name, reply) => this.#reply(name, reply),
      remembered: store.kept.commands,
      onRemembered: (commands) => store.update({ commands: [...commands] }),
      now,
      logger,
    });
    this.#loop = new CaptureLoop(this.#schedule, {
      location: config.location,
      capture: () => this.#captureDue(),
      onPlan: (plan) => this.#follow(plan),
      phaseMs: phaseOf(config.id),
      now,
    });
  }

  get session(): string {
    return this.#sender.session;
  }

  get #schedule(): Schedule {
    return this.#store.kept.schedule ?? everyDay(this.#config.captureIntervalS);
  }

  start(): void {
    this.#sender.start();
    this.#desk.settleInterrupted(["reboot"]);
    this.#loop.start();
    this.#readings = setInterval(() => this.#sayReadings(), this.#config.readingsIntervalS * 1000);
  }

  captureNow(): Promise<CaptureCompleted> {
    return this.#inTurn(() => this.#capture({ preview: true }));
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    clearInterval(this.#readings);
    this.#stopSignal.abort();
    await Promise.race([Promise.all([this.#loop.stop(), this.#lastCapture]), pause(STOP_CAPTURE_MS)]);
    await this.#camera.stop?.();
    // What became of the picture is said before the farewell, after which nothing is.
    await Promise.race([this.#lastCapture, pause(STOP_CAPTURE_MS)]);
    await this.#sender.stop();
    await this.#store.flush();
  }

  /** One picture at a time: no camera can do more. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastCapture.then(work);
    this.#lastCapture = turn.catch(() => {});
    return turn;
  }

  async #captureDue(): Promise<number> {
    const { every } = this.#config.preview;
    try {
      await this.#inTurn(() => this.#capture({ preview: every > 0 && this.#captures % every === 0 }));
    } catch {
      // It was said and logged where it happened.
    }
    return this.#failures;
  }

  async #capture({ preview }: { preview: boolean }): Promise<CaptureCompleted> {
    if (this.#stopSignal.signal.aborted) throw new Error("the camera is stopping");
    const capture = ulid(this.#now().getTime()).toLowerCase();
    this.#event("capture.started", { capture });
    let frame: Frame;
    try {
      const taking = this.#camera.capture(this.#store.kept.settings, this.#now());
      frame = await orTimeout(taking, CAPTURE_TIMEOUT_MS);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#failures++;
      this.#logger.warn({ capture, reason, failures: this.#failures }, "capture failed");
      this.#event("capture.failed", { capture, error: reason.slice(0, 2000), failures: this.#failures });
      throw error;
    }
    this.#failures = 0;
    this.#captures++;
    const { jpeg, width, height, settings } = frame;
    const completed: CaptureCompleted = { capture, width, height, size_bytes: jpeg.length, settings };
    this.#event("capture.completed", completed);
    if (preview) await this.#sendPreview(capture, jpeg);
    return completed;
  }

  /** A picture without a preview is still a picture: a failure here is no failure of the capture. */
  async #sendPreview(capture: string, jpeg: Buffer): Promise<void> {
    try {
      const small = await createPreview(jpeg, this.#config.preview);
      this.#sender.preview({ kind: "camera-preview", camera: this.id, capture }, small);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#logger.warn({ capture, reason }, "no preview");
      this.#event("error.occurred", { source: "preview", capture, error: reason.slice(0, 2000) });
    }
  }

  async #setSchedule(schedule: Schedule): Promise<unknown> {
    this.#store.update({ schedule });
    await this.#store.flush();
    this.#state("schedule", "schedule.updated", this.#schedule);
    this.#loop.follow(schedule);
    return { next_capture_at: this.#plan.next?.toISOString() ?? null };
  }

  async #setSettings(settings: CameraSettings): Promise<unknown> {
    this.#store.update({ settings: { ...this.#store.kept.settings, ...settings } });
    await this.#store.flush();
    this.#state("settings", "settings.applied", this.#store.kept.settings);
    return this.#store.kept.settings;
  }

  /** Says `sleeping`, is away for a moment, and comes back as another session. */
  async #reboot(): Promise<unknown> {
    const awayMs = this.#config.rebootMs ?? DEFAULT_REBOOT_MS;
    await this.#lastCapture;
    await this.#sender.stop({ status: "sleeping", until: new Date(this.#now().getTime() + awayMs).toISOString() });
    await pause(awayMs, this.#stopSignal.signal);
    if (this.#stopSignal.signal.aborted) throw new Error("the camera was stopped while it rebooted");
    this.#captures = 0;
    this.#sender.start();
    return { session: this.session };
  }

  #follow(plan: Plan): void {
    this.#plan = plan;
    this.#sayProgress();
  }

  /** What is true now, at every birth: the broker may have lost it, and others may have it from an earlier session. */
  #announce(): void {
    const { location, name, captureIntervalS } = this.#config;
    const intervals = this.#schedule.entries.map((entry) => entry.interval_s);
    const about: CameraAbout = {
      ...this.#camera.about,
      ...(name === undefined ? {} : { name }),
      location,
      capture_interval_s: intervals.length > 0 ? Math.max(...intervals) : captureIntervalS,
    };
    this.#sender.state({ kind: "camera-about", camera: this.id }, "camera.about", about);
    this.#state("settings", "settings.applied", this.#store.kept.settings);
    this.#state("schedule", "schedule.updated", this.#schedule);
    this.#sayProgress();
    this.#sayReadings();
  }

  #sayProgress(): void {
    const { active, next } = this.#plan;
    const progress: CaptureProgress = {
      active,
      ...(next === undefined ? {} : { next_capture_at: next.toISOString() }),
      captures_completed: this.#captures,
    };
    this.#state("capture", "capture.progress", progress);
  }

  #sayReadings(): void {
    const at = this.#now();
    const { location } = this.#config;
    const { elevation, azimuth } = sunPosition(at, location);
    const golden = nextGoldenHour(at, location);
    const { storage, power, weather } = this.#camera.readings?.(at) ?? {};
    const environment: Environment = {
      sun_elevation: Math.round(elevation * 100) / 100,
      sun_azimuth: Math.round(azimuth * 100) / 100,
      ...(golden === undefined ? {} : { next_golden_hour: golden.toISOString() }),
      ...weather,
    };
    this.#state("environment", "environmental.update", environment);
    if (storage !== undefined) this.#state("storage", "resource.update", storage);
    if (power !== undefined) this.#state("power", "resource.update", power);
  }

  #state(name: string, event: string, data: unknown): void {
    this.#sender.state({ kind: "camera-state", camera: this.id, name }, event, data);
  }

  #event(event: string, data: unknown): void {
    this.#sender.event({ kind: "camera-event", camera: this.id, event }, event, data);
  }

  #reply(command: string, reply: CommandReply): void {
    this.#sender.event({ kind: "camera-reply", camera: this.id, command }, "command.reply", reply);
  }
}

/** The same at every start, different for most cameras: those of one site do not all work in the same moment. */
function phaseOf(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.charCodeAt(0)) % 3_600_000;
  return hash;
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

/** Resolves after `ms`, or at once when the signal is given. */
function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
