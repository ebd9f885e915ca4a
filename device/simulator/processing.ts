import type { Logger } from "pino";
import type { Job } from "../../contract/events.ts";
import { topicTree } from "../../contract/topics.ts";
import type { BackoffOptions } from "../../platform/backoff.ts";
import { Sender } from "../link/sender.ts";
import { MemoryOutbox } from "../outbox/memory-outbox.ts";

const DEFAULT_JOB_INTERVAL_MS = 30_000;
const DEFAULT_STEP_MS = 2000;
const DEFAULT_KEEP_MS = 10_000;
/** Steps from the queue to the result, by type; a timelapse takes longest. */
const STEPS = { timelapse_assembly: 10, image_processing: 4 } as const;
/** Where a failing job stops, percent. */
const FAILS_AT = 60;

export interface ProcessingConfig {
  id: string;
  secret: string;
  brokerUrl: string;
  topicRoot: string;
  /** The cameras whose pictures it pretends to work on, by turns. */
  cameras: readonly string[];
  reconnect: BackoffOptions;
  /** From one job's beginning to the next one's, milliseconds. Default 30,000. */
  jobIntervalMs?: number;
  /** Between two reports of progress, milliseconds. Default 2,000. */
  stepMs?: number;
  /** How long a finished job stays to be seen before its topic is cleared, milliseconds. Default 10,000. */
  keepMs?: number;
  /** Every so-manieth job fails, to see what that looks like. Default 0: none. */
  failEvery?: number;
}

export interface ProcessingService {
  readonly id: string;
  readonly session: string;
  /** Clears the jobs that are not done, says `offline`, disconnects, within some 1.5 s. Idempotent. */
  stop(): Promise<void>;
}

/** Starts a processing service that does nothing but talk like one: jobs queued, progressing, completed, cleared. */
export function startProcessingService({
  config,
  logger,
}: {
  config: ProcessingConfig;
  logger: Logger;
}): ProcessingService {
  const service = new SimulatedProcessing(config, logger.child({ service: config.id }));
  service.start();
  return service;
}

class SimulatedProcessing implements ProcessingService {
  readonly id: string;
  readonly #config: ProcessingConfig;
  readonly #sender: Sender;
  /** By job id: the next step, or the clearing. One per camera and type at most. */
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #interval: NodeJS.Timeout | undefined;
  #started = 0;
  #stopping: Promise<void> | undefined;

  constructor(config: ProcessingConfig, logger: Logger) {
    this.id = config.id;
    this.#config = config;
    this.#sender = new Sender({
      brokerUrl: config.brokerUrl,
      tree: topicTree(config.topicRoot),
      owner: { kind: "service", id: config.id },
      secret: config.secret,
      outbox: new MemoryOutbox(),
      onUp: () => this.#work(),
      reconnect: config.reconnect,
      now: () => new Date(),
      logger,
    });
  }

  get session(): string {
    return this.#sender.session;
  }

  start(): void {
    this.#sender.start();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    clearInterval(this.#interval);
    for (const [job, timer] of this.#timers) {
      clearTimeout(timer);
      this.#clear(job);
    }
    await this.#sender.stop();
  }

  /** Begins with the first link: a worker that nobody can reach gets no work. */
  #work(): void {
    if (this.#interval !== undefined) return;
    this.#interval = setInterval(() => this.#begin(), this.#config.jobIntervalMs ?? DEFAULT_JOB_INTERVAL_MS);
    this.#begin();
  }

  /** Timelapses and image processing alternate; each pair goes to the next camera. */
  #begin(): void {
    const { cameras, failEvery = 0 } = this.#config;
    const number = this.#started++;
    const camera = cameras[Math.floor(number / 2) % cameras.length];
    if (camera === undefined) return;
    const type = number % 2 === 0 ? "timelapse_assembly" : "image_processing";
    // One name per camera and type: a job that a killed service left behind is overwritten by the next of its name.
    const job = `${camera.slice(0, 52)}-${type === "timelapse_assembly" ? "timelapse" : "images"}`;
    if (this.#timers.has(job)) return;
    const fails = failEvery > 0 && this.#started % failEvery === 0;
    const queued: Job = { job, type, camera, status: "queued", progress: 0, simulated: true };
    this.#say(queued);
    this.#after(job, () => this.#advance({ ...queued, status: "processing" }, fails));
  }

  #advance(job: Job, fails: boolean): void {
    if (fails && job.progress >= FAILS_AT) {
      this.#end({ ...job, status: "failed", error: "simulated failure: the encoder ran out of memory" });
    } else if (job.progress >= 100) {
      // Without outputs: there is no film.
      this.#end({ ...job, status: "completed", progress: 100 });
    } else {
      this.#say(job);
      const progress = Math.min(100, job.progress + 100 / STEPS[job.type]);
      this.#after(job.job, () => this.#advance({ ...job, progress }, fails));
    }
  }

  #end(job: Job): void {
    const event = job.status === "failed" ? "job.failed" : "job.completed";
    this.#sender.event(this.#topic(job.job), event, job, { retain: true });
    this.#after(job.job, () => this.#clear(job.job), this.#config.keepMs ?? DEFAULT_KEEP_MS);
  }

  #say(job: Job): void {
    this.#sender.state(this.#topic(job.job), "job.progress", job);
  }

  #clear(job: string): void {
    this.#timers.delete(job);
    this.#sender.clear(this.#topic(job));
  }

  #after(job: string, work: () => void, ms = this.#config.stepMs ?? DEFAULT_STEP_MS): void {
    this.#timers.set(job, setTimeout(work, ms));
  }

  #topic(job: string): { kind: "service-job"; service: string; job: string } {
    return { kind: "service-job", service: this.id, job };
  }
}
