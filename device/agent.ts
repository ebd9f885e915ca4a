import type { Logger } from "pino";
import type { Schedule, WantedSettings } from "../contract/commands.ts";
import type { CameraSettings, CaptureCompleted, ReportCause } from "../contract/events.ts";
import { capturePhaseMs, everyDay } from "../contract/schedule/planner.ts";
import { topicTree } from "../contract/topics.ts";
import { messageOf } from "../platform/errors.ts";
import type { CameraDriver } from "./cameras/camera-driver.ts";
import { explicitSettings } from "./cameras/explicit-settings.ts";
import { capabilitiesOf } from "./capabilities.ts";
import { CaptureLoop, type Plan } from "./capture/capture-loop.ts";
import { foundPictures } from "./capture/found-pictures.ts";
import { Pictures } from "./capture/pictures.ts";
import { Sleeper } from "./capture/sleep.ts";
import { cameraActions } from "./commands/camera-actions.ts";
import { CommandRunner } from "./commands/command-runner.ts";
import { outcomeLookups } from "./commands/interrupted-commands.ts";
import type { CameraConfig } from "./config.ts";
import { DeviceClock } from "./host/clock.ts";
import { settledWithin } from "./host/delay.ts";
import { Host } from "./host/host.ts";
import { Sender } from "./link/sender.ts";
import { DiskMonitor } from "./outbox/disk-monitor.ts";
import { CameraStatus } from "./status/camera-status.ts";
import { Telemetry } from "./status/telemetry.ts";
import { ThresholdAlerts } from "./status/threshold-alerts.ts";
import { openStores, type Stores } from "./stores.ts";

const DEFAULT_REBOOT_MS = 2000;
/** How long `stop` waits for the present picture. */
const STOP_CAPTURE_TIMEOUT_MS = 500;
const MAX_ERROR_CHARACTERS = 2000;

export interface CameraOptions {
  config: CameraConfig;
  camera: CameraDriver;
  logger: Logger;
  clock?: DeviceClock;
}

/** Resolves before the link is up. @throws when `config.dataPath` cannot be used */
export async function startCamera(options: CameraOptions): Promise<CameraAgent> {
  const { config, camera, logger, clock = new DeviceClock() } = options;
  const log = logger.child({ camera: config.id });
  const stores = await openStores(config, clock, log);
  const agent = new CameraAgent({ config, camera, ...stores, clock, logger: log });
  agent.start();
  return agent;
}

type Parts = Stores & Required<CameraOptions>;

export class CameraAgent {
  readonly id: string;
  readonly #parts: Parts;
  readonly #sender: Sender;
  readonly #pictures: Pictures;
  readonly #loop: CaptureLoop;
  readonly #sleeper: Sleeper;
  readonly #commands: CommandRunner;
  readonly #status: CameraStatus;
  readonly #telemetry: Telemetry;
  readonly #disk: DiskMonitor;
  #plan: Plan;
  #stopping: Promise<void> | undefined;

  constructor(parts: Parts) {
    const { config, camera, store, images, outbox, clock, logger } = parts;
    const { id, location } = config;
    const now = (): Date => clock.now();
    this.id = id;
    this.#parts = parts;
    this.#plan = { active: !this.#followsSchedule, next: undefined };
    const sender = new Sender({
      brokerUrl: config.brokerUrl,
      tree: topicTree(config.topicRoot),
      owner: { kind: "camera", id },
      secret: config.secret,
      outbox,
      onCommand: (command, payload) => this.#commands.receive(command, payload),
      onUp: () => this.#publishAll(),
      reconnect: config.reconnect,
      ...(config.keepaliveS === undefined ? {} : { keepaliveS: config.keepaliveS }),
      ...config.timeouts,
      now,
      logger,
    });
    this.#sender = sender;
    this.#pictures = new Pictures({
      ...{ id, location, preview: config.preview, camera, images, sender, clock, logger },
      settings: () => store.state.settings,
    });
    this.#loop = new CaptureLoop(this.#schedule, {
      location,
      capture: () => this.#pictures.due(),
      onPlan: (plan) => {
        this.#plan = plan;
        this.#status.planChanged();
      },
      phaseMs: capturePhaseMs(id),
      now,
    });
    this.#sleeper = new Sleeper({
      ...(config.sleep ?? { pauseMs: 0 }),
      plan: () => this.#plan,
      waiting: () => outbox.size,
      goOffline: (until) => sender.stop({ status: "sleeping", until: until.toISOString() }),
      goOnline: () => {
        this.#pictures.resetCount();
        sender.start();
      },
      now,
      runningMs: () => clock.runningMs,
      logger,
    });
    this.#commands = new CommandRunner({
      actions: cameraActions({
        pictures: this.#pictures,
        sleeper: this.#sleeper,
        setSchedule: (schedule, cause) => this.#setSchedule(schedule, cause),
        setSettings: (settings, cause) => this.#setSettings(settings, cause),
        reboot: () => this.#reboot(),
      }),
      reply: (command, reply) => sender.reply({ kind: "camera-reply", camera: id, command }, reply),
      remembered: store.state.commands,
      onRemembered: (commands) => store.update({ commands: [...commands] }),
      flush: () => store.flush(),
      now,
      logger,
    });
    this.#status = new CameraStatus({
      ...{ id, name: config.name, location, about: camera.about, sender },
      capabilities: capabilitiesOf(parts),
      schedule: () => (this.#followsSchedule ? this.#schedule : undefined),
      settings: () => this.#settings,
      plan: () => this.#plan,
      defaultIntervalS: config.captureIntervalS,
      taken: () => this.#pictures.taken,
    });
    this.#telemetry = new Telemetry({
      ...{ intervalS: config.readingsIntervalS, maxAgeS: config.readingsMaxAgeS, location, camera, clock, logger },
      host: config.watchHost === true ? new Host(config) : undefined,
      alerts: new ThresholdAlerts({
        ...(config.alerts === undefined ? {} : { limits: config.alerts }),
        raised: store.state.alerts,
        publish: (name, alert) => sender.alert({ kind: "camera-alert", camera: id, name }, alert),
        onChange: (alerts) => store.update({ alerts: [...alerts] }),
      }),
      diskFailure: () => this.#disk.failure,
      isAsleep: () => this.#sleeper.asleep,
      publish: (name, event, reading) => this.#status.publish(name, event, reading),
      onClockSet: () => {
        if (this.#followsSchedule) this.#loop.follow(this.#schedule);
      },
    });
    this.#disk = new DiskMonitor(outbox, (failure) => this.#diskChanged(failure));
  }

  get session(): string {
    return this.#sender.session;
  }

  /** The number of unacknowledged messages. */
  get waiting(): number {
    return this.#parts.outbox.size;
  }

  start(): void {
    const { camera, images, outbox, store, logger } = this.#parts;
    this.#sender.start();
    if (this.#disk.failure !== undefined) this.#diskChanged(this.#disk.failure);
    if (camera.watch === undefined) this.#loop.start();
    else {
      const fail = (reason: string): void => {
        logger.error({ reason }, "camera failed");
        this.#publishError("camera", reason.slice(0, MAX_ERROR_CHARACTERS));
      };
      camera.watch(foundPictures(this.#pictures, outbox, fail));
    }
    void this.#commands.replyToInterrupted(
      outcomeLookups({
        session: () => this.session,
        state: () => store.state,
        scheduleResult: () => this.#scheduleResult,
        describe: images === undefined ? undefined : (capture) => images.describe(capture),
      }),
    );
    this.#sleeper.start();
    this.#telemetry.start();
  }

  /** Takes a picture, and sends its preview. @throws Error when the camera fails, after `capture.failed` was published */
  captureNow(): Promise<CaptureCompleted> {
    return this.#pictures.now();
  }

  /** Publishes `offline` and disconnects, within 2 s, or 4 s when a camera program hangs. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const { camera, images, outbox, store } = this.#parts;
    this.#telemetry.stop();
    this.#disk.stop();
    this.#pictures.stop();
    await this.#sleeper.stop();
    await settledWithin(STOP_CAPTURE_TIMEOUT_MS, Promise.all([this.#loop.stop(), this.#pictures.idle()]));
    await camera.stop?.();
    // Wait for the last picture's outcome, because nothing is sent after the farewell.
    await settledWithin(STOP_CAPTURE_TIMEOUT_MS, this.#pictures.idle());
    await this.#sender.stop();
    await images?.idle();
    await store.flush().catch(() => {});
    await outbox.close();
  }

  get #followsSchedule(): boolean {
    return this.#parts.camera.watch === undefined;
  }

  get #schedule(): Schedule {
    const { store, config } = this.#parts;
    return store.state.schedule ?? config.schedule ?? everyDay(config.captureIntervalS);
  }

  get #scheduleResult(): unknown {
    return { next_capture_at: this.#plan.next?.toISOString() ?? null };
  }

  get #settings(): CameraSettings {
    return explicitSettings(this.#parts.store.state.settings);
  }

  async #setSchedule(schedule: Schedule, cause: ReportCause): Promise<unknown> {
    if (!this.#followsSchedule) throw new Error("this camera follows no schedule: another program takes its pictures");
    this.#parts.store.update({ schedule });
    this.#status.publishSchedule(cause);
    this.#loop.follow(schedule);
    await this.#flushStore();
    return this.#scheduleResult;
  }

  async #setSettings(settings: WantedSettings, cause: ReportCause): Promise<unknown> {
    const { store } = this.#parts;
    store.update({ settings: { ...store.state.settings, ...settings } });
    this.#status.publishSettings(cause);
    await this.#flushStore();
    return this.#settings;
  }

  async #flushStore(): Promise<void> {
    try {
      await this.#parts.store.flush();
    } catch (error) {
      throw new Error(
        `applied, but only until the next start: the change cannot be written to the disk: ${messageOf(error)}`,
      );
    }
  }

  async #reboot(): Promise<unknown> {
    await this.#pictures.idle();
    await this.#sleeper.reboot(this.#parts.config.rebootMs ?? DEFAULT_REBOOT_MS);
    return { session: this.session };
  }

  #publishAll(): void {
    this.#status.publishAll();
    this.#telemetry.publishAll();
  }

  #diskChanged(failure: string | undefined): void {
    const effect = "the disk cannot be written: messages are kept in memory only, and no pictures are stored";
    if (failure !== undefined) this.#publishError("disk", `${effect}: ${failure}`);
    void this.#telemetry.measure();
  }

  #publishError(source: string, error: string): void {
    const event = "error.occurred";
    void this.#sender.event({ kind: "camera-event", camera: this.id, event }, event, { source, error });
  }
}
