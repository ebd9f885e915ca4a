import type { Logger } from "pino";
import type { Job } from "../../contract/events.ts";
import { topicTree } from "../../contract/topics.ts";
import type { BackoffOptions } from "../../platform/backoff.ts";
import { Sender } from "../link/sender.ts";
import { MemoryOutbox } from "../outbox/memory-outbox.ts";

const DEFAULTS = {
  /** The time between the starts of two jobs. */
  jobIntervalMs: 30_000,
  /** The time between two progress reports. */
  stepMs: 2000,
  /** How long a finished job stays visible. */
  keepMs: 10_000,
  /** One job in this many fails, for demonstration. 0: none. */
  failEvery: 0,
};
const STEPS = { timelapse_assembly: 10, image_processing: 4 } as const;
const FAILS_AT = 60;

export interface ProcessingConfig extends Partial<typeof DEFAULTS> {
  id: string;
  secret: string;
  brokerUrl: string;
  topicRoot: string;
  /** The service pretends to process the pictures of these cameras in turn. */
  cameras: readonly string[];
  reconnect: BackoffOptions;
}

/** Publishes the messages of a processing service, without processing anything. */
export class ProcessingService {
  readonly id: string;
  readonly #config: Required<ProcessingConfig>;
  readonly #sender: Sender;
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #interval: NodeJS.Timeout | undefined;
  #started = 0;
  #stopping: Promise<void> | undefined;

  constructor(config: ProcessingConfig, logger: Logger) {
    this.id = config.id;
    this.#config = { ...DEFAULTS, ...config };
    this.#sender = new Sender({
      brokerUrl: config.brokerUrl,
      tree: topicTree(config.topicRoot),
      owner: { kind: "service", id: config.id },
      secret: config.secret,
      outbox: new MemoryOutbox(),
      onUp: () => this.#startJobs(),
      reconnect: config.reconnect,
      now: () => new Date(),
      logger: logger.child({ service: config.id }),
    });
  }

  get session(): string {
    return this.#sender.session;
  }

  start(): void {
    this.#sender.start();
  }

  /** Clears unfinished jobs and disconnects, within about 1.5 s. Idempotent. */
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

  /**
   * Called whenever the link comes up. The first call starts the jobs: a real service gets no jobs before its link is
   * up.
   */
  #startJobs(): void {
    if (this.#interval !== undefined) return;
    this.#interval = setInterval(() => this.#beginJob(), this.#config.jobIntervalMs);
    this.#beginJob();
  }

  #beginJob(): void {
    const { cameras, failEvery } = this.#config;
    const number = this.#started++;
    const camera = cameras[Math.floor(number / 2) % cameras.length];
    if (camera === undefined) return;
    const type = number % 2 === 0 ? "timelapse_assembly" : "image_processing";
    // One id per camera and type: a new job replaces one that a killed service left behind.
    const job = `${camera.slice(0, 52)}-${type === "timelapse_assembly" ? "timelapse" : "images"}`;
    if (this.#timers.has(job)) return;
    const fails = failEvery > 0 && this.#started % failEvery === 0;
    const queued: Job = { job, type, camera, status: "queued", progress: 0, simulated: true };
    this.#publish(queued);
    this.#after(job, () => this.#advance({ ...queued, status: "processing" }, fails));
  }

  #advance(job: Job, fails: boolean): void {
    if (fails && job.progress >= FAILS_AT) {
      this.#end({ ...job, status: "failed", error: "simulated failure: the encoder ran out of memory" });
    } else if (job.progress >= 100) {
      this.#end({ ...job, status: "completed", progress: 100 });
    } else {
      this.#publish(job);
      const progress = Math.min(100, job.progress + 100 / STEPS[job.type]);
      this.#after(job.job, () => this.#advance({ ...job, progress }, fails));
    }
  }

  #end(job: Job): void {
    const event = job.status === "failed" ? "job.failed" : "job.completed";
    this.#sender.event(this.#topic(job.job), event, job, { retain: true });
    this.#after(job.job, () => this.#clear(job.job), this.#config.keepMs);
  }

  #publish(job: Job): void {
    this.#sender.state(this.#topic(job.job), "job.progress", job);
  }

  #clear(job: string): void {
    this.#timers.delete(job);
    this.#sender.clear(this.#topic(job));
  }

  #after(job: string, work: () => void, ms = this.#config.stepMs): void {
    this.#timers.set(job, setTimeout(work, ms));
  }

  #topic(job: string): { kind: "service-job"; service: string; job: string } {
    return { kind: "service-job", service: this.id, job };
  }
}
