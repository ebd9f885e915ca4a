import type { Schedule } from "../../contract/commands.ts";
import type { CameraAbout, CameraSettings, Capabilities, CaptureProgress, ReportCause } from "../../contract/events.ts";
import type { Location } from "../../contract/schedule/sun.ts";
import type { Plan } from "../capture/capture-loop.ts";
import type { Sender } from "../link/sender.ts";

export interface CameraStatusOptions {
  id: string;
  name?: string | undefined;
  location: Location;
  about: { model: string; firmware: string };
  capabilities: Capabilities;
  sender: Sender;
  schedule: () => Schedule | undefined;
  settings: () => CameraSettings;
  plan: () => Plan;
  /** Seconds between pictures if the plan has no interval. */
  defaultIntervalS: number;
  taken: () => number;
}

/** Publishes the camera's states. They are retained, so that every new subscriber receives them. */
export class CameraStatus {
  readonly #options: CameraStatusOptions;
  #publishedIntervalS: number | undefined;
  #wasPublished = false;

  constructor(options: CameraStatusOptions) {
    this.#options = options;
  }

  /** Call it at every birth: the broker may have lost the states, or may have those of an earlier session. */
  publishAll(): void {
    const cause: ReportCause = { kind: this.#wasPublished ? "reconnect" : "restart" };
    this.#wasPublished = true;
    this.#publishAbout();
    this.publishSettings(cause);
    this.publishSchedule(cause);
    this.#publishProgress();
  }

  publishSettings(cause: ReportCause): void {
    this.publish("settings", "settings.applied", { ...this.#options.settings(), cause });
  }

  publishSchedule(cause: ReportCause): void {
    const schedule = this.#options.schedule();
    if (schedule !== undefined) this.publish("schedule", "schedule.updated", { ...schedule, cause });
  }

  planChanged(): void {
    // The interval changes with every window. The backend needs it to detect a missing picture.
    if (this.#publishedIntervalS !== undefined && this.#publishedIntervalS !== this.#intervalS) this.#publishAbout();
    this.#publishProgress();
  }

  publish(state: string, event: string, data: unknown): void {
    const { id, sender } = this.#options;
    sender.state({ kind: "camera-state", camera: id, name: state }, event, data);
  }

  get #intervalS(): number {
    return this.#options.plan().intervalS ?? this.#options.defaultIntervalS;
  }

  #publishAbout(): void {
    const { id, name, location, about, capabilities, sender } = this.#options;
    this.#publishedIntervalS = this.#intervalS;
    const data: CameraAbout = {
      ...about,
      ...(name === undefined ? {} : { name }),
      location,
      capture_interval_s: this.#intervalS,
      capabilities,
    };
    sender.state({ kind: "camera-about", camera: id }, "camera.about", data);
  }

  #publishProgress(): void {
    const { plan, taken } = this.#options;
    const { active, next } = plan();
    const progress: CaptureProgress = {
      active,
      ...(next === undefined ? {} : { next_capture_at: next.toISOString() }),
      captures_completed: taken(),
    };
    this.publish("capture", "capture.progress", progress);
  }
}
