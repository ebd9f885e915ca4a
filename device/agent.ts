import type { Logger } from "pino";
import { type Command, commandArgs, type Schedule, type WantedSettings } from "../contract/commands.ts";
import type {
  CameraAbout,
  CameraSettings,
  CaptureCompleted,
  CaptureProgress,
  Environment,
} from "../contract/events.ts";
import { topicTree } from "../contract/topics.ts";
import type { CameraDriver, PictureTaker } from "./cameras/camera-driver.ts";
import { givenSettings } from "./cameras/wanted-settings.ts";
import { CaptureLoop, type Plan } from "./capture/capture-loop.ts";
import { Pictures } from "./capture/pictures.ts";
import { everyDay } from "./capture/schedule.ts";
import { Sleeper } from "./capture/sleep.ts";
import { nextGoldenHour, sunPosition } from "./capture/sun.ts";
import { commandLookUps } from "./commands/command-look-ups.ts";
import { action, CommandDesk } from "./commands/commands.ts";
import type { CameraConfig } from "./config.ts";
import { AlertBoard } from "./host/alert-board.ts";
import type { CameraStore } from "./host/camera-store.ts";
import { DeviceClock } from "./host/clock.ts";
import { Host, type HostReadings } from "./host/host.ts";
import { pause } from "./host/pause.ts";
import { DEFAULT_READINGS_MAX_AGE_S, ReadingsFilter, type StateReadings } from "./host/readings.ts";
import { Sender } from "./link/sender.ts";
import { DiskTrouble } from "./outbox/disk-trouble.ts";
import { openStores, type Stores } from "./stores.ts";

const DEFAULT_REBOOT_MS = 2000;
/** How long `stop` waits for a picture that is being taken, milliseconds. */
const STOP_CAPTURE_MS = 500;
/** Between the answer to a command to sleep and the sleep. */
const LAST_WORDS_MS = 200;

export interface CameraAgent {
  readonly id: string;
  /** Names the current boot; a `reboot` and a sleep change it. */
  readonly session: string;
  /** Messages that wait for their acknowledgement. */
  readonly waiting: number;
  /**
   * Takes a picture now, after one that is being taken, and sends its preview.
   * @throws Error when the camera fails; `capture.failed` has been said
   */
  captureNow(): Promise<CaptureCompleted>;
  /** Ends captures, sends what it can, says `offline` and disconnects, within some 2 s, 4 s when a camera program hangs. Idempotent. */
  stop(): Promise<void>;
}

export interface CameraOptions {
  config: CameraConfig;
  camera: CameraDriver;
  logger: Logger;
  /** Default: the machine's, which may not be set yet. */
  clock?: DeviceClock;
}

/**
 * Starts a camera. Resolves before there is a link: a camera without one takes its pictures all the same.
 * @throws when `config.dataPath` cannot be used
 */
export async function startCamera(options: CameraOptions): Promise<CameraAgent> {
  const { config, camera, logger, clock = new DeviceClock() } = options;
  const log = logger.child({ camera: config.id });
  const stores = await openStores(config, clock, log);
  const agent = new Agent({ config, camera, ...stores, clock, logger: log });
  agent.start();
  return agent;
}

interface Parts extends Stores {
  config: CameraConfig;
  camera: CameraDriver;
  clock: DeviceClock;
  logger: Logger;
}

class Agent implements CameraAgent {
  readonly id: string;
  readonly #parts: Parts;
  readonly #config: CameraConfig;
  readonly #store: CameraStore;
  readonly #sender: Sender;
  readonly #desk: CommandDesk;
  readonly #loop: CaptureLoop;
  readonly #pictures: Pictures;
  readonly #sleeper: Sleeper;
  readonly #alerts: AlertBoard;
  readonly #host: Host | undefined;
  /** A camera that follows no schedule is always at work. */
  #plan: Plan;
  /** Undefined before the first birth, which says everything. */
  #saidIntervalS: number | undefined;
  #readings: NodeJS.Timeout | undefined;
  readonly #readingsFilter: ReadingsFilter;
  readonly #disk: DiskTrouble;
  readonly #stopSignal = new AbortController();
  #stopping: Promise<void> | undefined;

  constructor(parts: Parts) {
    const { config, camera, store, images, outbox, clock, logger } = parts;
    const now = (): Date => clock.now();
    this.id = config.id;
    this.#parts = parts;
    this.#config = config;
    this.#store = store;
    this.#plan = { active: camera.follow !== undefined, next: undefined };
    this.#host = config.watchHost === true ? new Host(config) : undefined;
    this.#readingsFilter = new ReadingsFilter((config.readingsMaxAgeS ?? DEFAULT_READINGS_MAX_AGE_S) * 1000);
    this.#disk = new DiskTrouble(outbox, (reason) => this.#sayDisk(reason));
    this.#sender = new Sender({
      brokerUrl: config.brokerUrl,
      tree: topicTree(config.topicRoot),
      owner: { kind: "camera", id: config.id },
      secret: config.secret,
      outbox,
      onCommand: (command, payload) => this.#desk.receive(command, payload),
      onUp: () => this.#announce(),
      reconnect: config.reconnect,
      ...(config.keepaliveS === undefined ? {} : { keepaliveS: config.keepaliveS }),
      ...config.timeouts,
      now,
      logger,
    });
    this.#pictures = new Pictures({
      ...{ config, camera, images, clock, logger },
      sender: this.#sender,
      settings: () => store.kept.settings,
    });
    this.#desk = new CommandDesk({
      actions: {
        "capture.now": action(commandArgs["capture.now"], (_, note) =>
          this.#pictures.now((capture) => note({ capture })),
        ),
        "schedule.set": action(commandArgs["schedule.set"], (schedule) => this.#setSchedule(schedule)),
        "settings.set": action(commandArgs["settings.set"], (settings) => this.#setSettings(settings)),
        "preview.send": action(commandArgs["preview.send"], ({ capture }) => this.#pictures.sendAgain(capture)),
        reboot: action(commandArgs.reboot, () => this.#reboot()),
        sleep: action(
          commandArgs.sleep,
          ({ until }, _, command) => this.#sleepUntil(new Date(until), this.#sleepLength(until, command)),
          ({ until }, command) => this.#sleeper.problemOf(this.#sleepLength(until, command)),
        ),
      },
      answer: (command, reply) => this.#sender.reply({ kind: "camera-reply", camera: this.id, command }, reply),
      remembered: store.kept.commands,
      onRemembered: (commands) => store.update({ commands: [...commands] }),
      flush: () => store.flush(),
      now,
      logger,
    });
    this.#loop = new CaptureLoop(this.#schedule, {
      location: config.location,
      capture: () => this.#pictures.due(),
      onPlan: (plan) => this.#follow(plan),
      phaseMs: phaseOf(config.id),
      now,
    });
    this.#sleeper = new Sleeper({
      ...(config.sleep ?? { pauseMs: 0 }),
      plan: () => this.#plan,
      waiting: () => outbox.size,
      leave: (until) => this.#leave(until),
      comeBack: () => this.#comeBack(),
      now,
      runningMs: () => clock.runningMs,
      logger,
    });
    this.#alerts = new AlertBoard({
      ...(config.alerts === undefined ? {} : { limits: config.alerts }),
      raised: store.kept.alerts,
      say: (name, alert) => this.#sender.alert({ kind: "camera-alert", camera: this.id, name }, alert),
      onChange: (alerts) => store.update({ alerts: [...alerts] }),
    });
  }

  get session(): string {
    return this.#sender.session;
  }

  get waiting(): number {
    return this.#parts.outbox.size;
  }

  get #schedule(): Schedule {
    return this.#store.kept.schedule ?? this.#config.schedule ?? everyDay(this.#config.captureIntervalS);
  }

  get #settings(): CameraSettings {
    return givenSettings(this.#store.kept.settings);
  }

  /** What `schedule.set` is answered with. */
  get #scheduled(): unknown {
    return { next_capture_at: this.#plan.next?.toISOString() ?? null };
  }

  start(): void {
    const { camera, images } = this.#parts;
    this.#sender.start();
    if (this.#disk.reason !== undefined) this.#sayDisk(this.#disk.reason);
    if (camera.follow === undefined) this.#loop.start();
    else camera.follow(this.#taker());
    void this.#desk.settleInterrupted(
      commandLookUps({
        session: () => this.session,
        kept: () => this.#store.kept,
        scheduled: () => this.#scheduled,
        describe: images === undefined ? undefined : (capture) => images.describe(capture),
      }),
    );
    this.#sleeper.start();
    this.#readings = setInterval(() => void this.#sayReadings(), this.#config.readingsIntervalS * 1000);
  }

  captureNow(): Promise<CaptureCompleted> {
    return this.#pictures.now();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const { camera, images, outbox } = this.#parts;
    clearInterval(this.#readings);
    this.#disk.stop();
    this.#stopSignal.abort();
    this.#pictures.stop();
    await this.#sleeper.stop();
    await Promise.race([Promise.all([this.#loop.stop(), this.#pictures.idle()]), pause(STOP_CAPTURE_MS)]);
    await camera.stop?.();
    // What became of the picture is said before the farewell, after which nothing is.
    await Promise.race([this.#pictures.idle(), pause(STOP_CAPTURE_MS)]);
    await this.#sender.stop();
    await images?.idle();
    // It was logged.
    await this.#store.flush().catch(() => {});
    await outbox.close();
  }

  #taker(): PictureTaker {
    const { marks, logger } = this.#parts;
    const markOf = (name: string): string => `picture/${name}`;
    return {
      knows: (name) => marks.has(markOf(name)),
      take: (picture) => this.#pictures.takeOver(picture, markOf(picture.name)),
      remember: (names) => marks.keepOnly(new Set([...names].map(markOf))),
      fail: (reason) => {
        logger.error({ reason }, "camera fails");
        const event = "error.occurred";
        const data = { source: "camera", error: reason.slice(0, 2000) };
        void this.#sender.event({ kind: "camera-event", camera: this.id, event }, event, data);
      },
    };
  }

  async #setSchedule(schedule: Schedule): Promise<unknown> {
    if (this.#parts.camera.follow !== undefined)
      throw new Error("this camera follows no schedule: another program takes its pictures");
    this.#store.update({ schedule });
    this.#state("schedule", "schedule.updated", this.#schedule);
    this.#loop.follow(schedule);
    await this.#keep();
    return this.#scheduled;
  }

  async #setSettings(settings: WantedSettings): Promise<unknown> {
    this.#store.update({ settings: { ...this.#store.kept.settings, ...settings } });
    this.#state("settings", "settings.applied", this.#settings);
    await this.#keep();
    return this.#settings;
  }

  async #keep(): Promise<void> {
    try {
      await this.#store.flush();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`it is followed, but only until the next start: it cannot be written to the disk: ${reason}`);
    }
  }

  /** Says `sleeping`, is away for a moment, and comes back as another session. */
  async #reboot(): Promise<unknown> {
    const awayMs = this.#config.rebootMs ?? DEFAULT_REBOOT_MS;
    await this.#pictures.idle();
    await this.#leave(new Date(this.#parts.clock.now().getTime() + awayMs));
    await pause(awayMs, this.#stopSignal.signal);
    if (this.#stopSignal.signal.aborted) throw new Error("the camera was stopped while it rebooted");
    this.#comeBack();
    return { session: this.session };
  }

  /** The answer goes first: nobody hears a camera that sleeps. */
  async #sleepUntil(until: Date, lengthMs: number): Promise<unknown> {
    void pause(LAST_WORDS_MS, this.#stopSignal.signal).then(async () => {
      if (!this.#stopSignal.signal.aborted) await this.#sleeper.sleep(until, lengthMs);
    });
    return { until: until.toISOString(), seconds: Math.round(lengthMs / 1000) };
  }

  #sleepLength(until: string, { issued_at }: Pick<Command, "issued_at">): number {
    return this.#sleeper.lengthOf({ until: new Date(until), issuedAt: new Date(issued_at) });
  }

  async #leave(until: Date): Promise<void> {
    await this.#sender.stop({ status: "sleeping", until: until.toISOString() });
  }

  #comeBack(): void {
    this.#pictures.startCounting();
    this.#sender.start();
  }

  #follow(plan: Plan): void {
    this.#plan = plan;
    // By another schedule, or another window of it. Whether a picture is missing is judged by this.
    if (this.#saidIntervalS !== undefined && this.#saidIntervalS !== this.#intervalS) this.#sayAbout();
    this.#sayProgress();
  }

  /** What is true now, at every birth: the broker may have lost it, and others may have it from an earlier session. */
  #announce(): void {
    this.#sayAbout();
    this.#state("settings", "settings.applied", this.#settings);
    if (this.#parts.camera.follow === undefined) this.#state("schedule", "schedule.updated", this.#schedule);
    this.#sayProgress();
    this.#readingsFilter.clear();
    void this.#sayReadings();
  }

  get #intervalS(): number {
    return this.#plan.intervalS ?? this.#config.captureIntervalS;
  }

  #sayAbout(): void {
    const { location, name } = this.#config;
    this.#saidIntervalS = this.#intervalS;
    const about: CameraAbout = {
      ...this.#parts.camera.about,
      ...(name === undefined ? {} : { name }),
      location,
      capture_interval_s: this.#intervalS,
    };
    this.#sender.state({ kind: "camera-about", camera: this.id }, "camera.about", about);
  }

  #sayProgress(): void {
    const { active, next } = this.#plan;
    const progress: CaptureProgress = {
      active,
      ...(next === undefined ? {} : { next_capture_at: next.toISOString() }),
      captures_completed: this.#pictures.taken,
    };
    this.#state("capture", "capture.progress", progress);
  }

  async #sayReadings(): Promise<void> {
    const { camera, clock, logger } = this.#parts;
    const jumpMs = clock.takeJump();
    if (jumpMs !== 0) {
      logger.info({ jumpMs }, "the clock was set");
      if (camera.follow === undefined) this.#loop.follow(this.#schedule);
    }
    // Nobody hears it, and when it is awake again it says everything anew.
    if (this.#sleeper.asleep) return;
    const at = clock.now();
    const host: Partial<HostReadings> = (await this.#host?.read()) ?? {};
    const own = camera.readings?.(at) ?? {};
    const storage = own.storage ?? host.storage;
    const power = own.power ?? host.power;
    this.#sayReading("environment", environmentAt(at, this.#config, own.weather));
    const unwritable = this.#disk.reason === undefined ? {} : { unwritable: this.#disk.reason };
    if (storage !== undefined) this.#sayReading("storage", { ...this.#alerts.storage(storage), ...unwritable });
    if (power !== undefined) this.#sayReading("power", power);
    if (host.resources !== undefined) {
      this.#alerts.resources(host.resources);
      this.#sayReading("resources", host.resources);
    }
  }

  #sayDisk(reason: string | undefined): void {
    if (reason !== undefined) {
      const event = "error.occurred";
      const error = `the disk takes no writes: what the camera says is kept in its memory only, and it keeps no pictures: ${reason}`;
      void this.#sender.event({ kind: "camera-event", camera: this.id, event }, event, { source: "disk", error });
    }
    // The storage says so too, and when it is over.
    void this.#sayReadings();
  }

  #sayReading<Name extends keyof StateReadings>(name: Name, reading: StateReadings[Name]): void {
    if (!this.#readingsFilter.isNews(name, reading)) return;
    this.#state(name, name === "environment" ? "environmental.update" : "resource.update", reading);
  }

  #state(name: string, event: string, data: unknown): void {
    this.#sender.state({ kind: "camera-state", camera: this.id, name }, event, data);
  }
}

function environmentAt(at: Date, { location }: CameraConfig, weather: Partial<Environment> | undefined): Environment {
  const { elevation, azimuth } = sunPosition(at, location);
  const golden = nextGoldenHour(at, location);
  return {
    ...weather,
    sun_elevation: Math.round(elevation * 100) / 100,
    sun_azimuth: Math.round(azimuth * 100) / 100,
    ...(golden === undefined ? {} : { next_golden_hour: golden.toISOString() }),
  };
}

/** The same at every start, different for most cameras: those of one site do not all work in the same moment. */
function phaseOf(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.charCodeAt(0)) % 3_600_000;
  return hash;
}
