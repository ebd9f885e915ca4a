import type { Alert, Resources, Storage } from "../../contract/events.ts";

export interface AlertLimits {
  /** Used percentage of the disk that raises `disk`. Default: the backend applies its limit for all cameras. */
  diskPercent?: number;
  /** Temperature in °C that raises `temperature`. A Raspberry Pi throttles its processor from 80 °C. */
  temperatureC: number;
}

export const DEFAULT_ALERT_LIMITS: AlertLimits = { temperatureC: 80 };
/** An alert is cleared when the value is this far below its limit. */
const DISK_HYSTERESIS_PERCENT = 5;
const TEMPERATURE_HYSTERESIS_C = 8;

export interface ThresholdAlertsOptions {
  limits?: Partial<AlertLimits>;
  raised: readonly string[];
  publish: (name: string, alert: Alert | undefined) => void;
  onChange: (raised: readonly string[]) => void;
}

export class ThresholdAlerts {
  readonly #options: ThresholdAlertsOptions;
  readonly #limits: AlertLimits;
  readonly #raised: Set<string>;

  constructor(options: ThresholdAlertsOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_ALERT_LIMITS, ...options.limits };
    this.#raised = new Set(options.raised);
  }

  /** @returns the reading with the camera's limit, which takes precedence over the backend's */
  storage(storage: Storage): Storage {
    const { total_bytes, free_bytes } = storage;
    const { diskPercent } = this.#limits;
    if (diskPercent === undefined) {
      // An earlier run had a limit of its own and raised the alert. Now the backend's limit applies, and the backend
      // clears the alert.
      if (this.#raised.delete("disk")) this.#options.onChange([...this.#raised]);
      return storage;
    }
    const used = (1 - free_bytes / total_bytes) * 100;
    this.#compare("disk", used, diskPercent, DISK_HYSTERESIS_PERCENT, () => ({
      severity: "warning",
      message: `The camera's storage is ${Math.floor(used)} % full`,
    }));
    return { ...storage, alert_percent: diskPercent };
  }

  resources({ temperature_c }: Resources): void {
    if (temperature_c === undefined) return;
    this.#compare("temperature", temperature_c, this.#limits.temperatureC, TEMPERATURE_HYSTERESIS_C, () => ({
      severity: "warning",
      message: `The camera's computer is at ${Math.round(temperature_c)} °C`,
    }));
  }

  #compare(name: string, value: number, limit: number, hysteresis: number, alert: () => Omit<Alert, "alert">): void {
    const isRaised = this.#raised.has(name);
    if (!isRaised && value > limit) this.#raised.add(name);
    else if (isRaised && value < limit - hysteresis) this.#raised.delete(name);
    else return;
    this.#options.publish(name, isRaised ? undefined : { alert: name, ...alert() });
    this.#options.onChange([...this.#raised]);
  }
}
