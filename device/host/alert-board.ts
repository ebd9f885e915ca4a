import type { Alert, Resources, Storage } from "../../contract/events.ts";

export interface AlertLimits {
  /** Percent of the disk in use above which `disk` is raised. Default: that is left to the backend, which has a limit for all. */
  diskPercent?: number;
  /** °C above which `temperature` is raised. A Raspberry Pi slows down from 80 on. */
  temperatureC: number;
}

export const DEFAULT_ALERT_LIMITS: AlertLimits = { temperatureC: 80 };
const DISK_RELIEF_PERCENT = 5;
const TEMPERATURE_RELIEF_C = 8;

export interface AlertBoardOptions {
  limits?: Partial<AlertLimits>;
  /** Alerts that an earlier run raised and did not clear. */
  raised: readonly string[];
  say: (name: string, alert: Alert | undefined) => void;
  /** Those that stand now, whenever that changes. */
  onChange: (raised: readonly string[]) => void;
}

/** Raises what a camera knows itself to be wrong: each once, until it is well over. */
export class AlertBoard {
  readonly #options: AlertBoardOptions;
  readonly #limits: AlertLimits;
  readonly #raised: Set<string>;

  constructor(options: AlertBoardOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_ALERT_LIMITS, ...options.limits };
    this.#raised = new Set(options.raised);
  }

  /** @returns it with the limit, if there is one: only one may judge by it, or the one alert is said twice */
  storage(storage: Storage): Storage {
    const { total_bytes, free_bytes } = storage;
    const { diskPercent } = this.#limits;
    if (diskPercent === undefined) {
      // It was raised when there was a limit; the backend clears it by its own.
      if (this.#raised.delete("disk")) this.#options.onChange([...this.#raised]);
      return storage;
    }
    const used = (1 - free_bytes / total_bytes) * 100;
    this.#settle("disk", used, diskPercent, DISK_RELIEF_PERCENT, () => ({
      severity: "warning",
      message: `The camera's storage is ${Math.floor(used)} % full`,
    }));
    return { ...storage, alert_percent: diskPercent };
  }

  resources({ temperature_c }: Resources): void {
    if (temperature_c === undefined) return;
    this.#settle("temperature", temperature_c, this.#limits.temperatureC, TEMPERATURE_RELIEF_C, () => ({
      severity: "warning",
      message: `The camera's computer is at ${Math.round(temperature_c)} °C`,
    }));
  }

  #settle(name: string, value: number, limit: number, relief: number, alert: () => Omit<Alert, "alert">): void {
    const stands = this.#raised.has(name);
    if (!stands && value > limit) this.#raised.add(name);
    else if (stands && value < limit - relief) this.#raised.delete(name);
    else return;
    this.#options.say(name, stands ? undefined : { alert: name, ...alert() });
    this.#options.onChange([...this.#raised]);
  }
}
