import { existsSync, readFileSync } from "node:fs";
import { uptime } from "node:os";
import { ulid } from "ulid";

/** Created by systemd-timesyncd at the first synchronisation after a boot. */
const SYNCHRONISED_FILE = "/run/systemd/timesync/synchronized";
const TIMESYNCD_FOLDER = "/run/systemd/timesync";
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
/** Smaller differences come from slewing, or from reading one clock after the other. */
const TOLERANCE_MS = 1000;

/**
 * A moment by the wall clock and a monotonic clock. A Raspberry Pi's clock has no battery: after a power cut it
 * continues from about the time of the cut, until the network sets it.
 */
export interface Stamp {
  at: number;
  /** Milliseconds since the boot, including suspended time. */
  monoMs: number;
  boot: string;
  trust: "right" | "unset" | "unknown";
}

export interface ClockOptions {
  now?: () => Date;
  monoMs?: () => number;
  /** Default: the system's boot id, or a new id on a system without one. */
  boot?: string;
  /** Whether the network set the wall clock; undefined when unknown. Default: asks systemd-timesyncd. */
  synchronised?: () => boolean | undefined;
}

export class DeviceClock {
  readonly boot: string;
  readonly #now: () => Date;
  readonly #monoMs: () => number;
  readonly #isSynchronised: () => boolean | undefined;
  #offset: number;
  #wasSet = false;

  constructor(options: ClockOptions = {}) {
    this.#now = options.now ?? (() => new Date());
    this.#monoMs = options.monoMs ?? (() => uptime() * 1000);
    this.#isSynchronised = options.synchronised ?? systemSynchronised;
    this.boot = options.boot ?? systemBoot();
    this.#offset = this.#now().getTime() - this.#monoMs();
  }

  /** A clock that is always right, for tests and simulations. */
  static of(now: () => Date): DeviceClock {
    return new DeviceClock({ now, synchronised: () => true });
  }

  now(): Date {
    return this.#now();
  }

  /** Milliseconds since the boot, including suspended time. */
  get runningMs(): number {
    return this.#monoMs();
  }

  /** False until the wall clock has been set after the boot. */
  get usable(): boolean {
    return this.#trust() !== "unset";
  }

  stamp(at: Date = this.#now()): Stamp {
    const monoMs = this.#monoMs() - (this.#now().getTime() - at.getTime());
    return { at: at.getTime(), monoMs: Math.round(monoMs), boot: this.boot, trust: this.#trust() };
  }

  /** A stamp's time, corrected if the clock was set since. A stamp of an earlier boot cannot be corrected. */
  timeOf({ at, monoMs, boot, trust }: Stamp): Date {
    if (trust === "right" || boot !== this.boot || !this.usable) return new Date(at);
    const corrected = this.#now().getTime() - (this.#monoMs() - monoMs);
    return new Date(Math.abs(corrected - at) > TOLERANCE_MS ? corrected : at);
  }

  /** Milliseconds by which the wall clock was set since the last call. */
  takeJump(): number {
    const offset = this.#now().getTime() - this.#monoMs();
    const jump = offset - this.#offset;
    this.#offset = offset;
    return Math.abs(jump) > TOLERANCE_MS ? Math.round(jump) : 0;
  }

  #trust(): Stamp["trust"] {
    if (this.#wasSet) return "right";
    const synchronised = this.#isSynchronised();
    this.#wasSet = synchronised === true;
    return synchronised === undefined ? "unknown" : synchronised ? "right" : "unset";
  }
}

function systemSynchronised(): boolean | undefined {
  if (existsSync(SYNCHRONISED_FILE)) return true;
  return existsSync(TIMESYNCD_FOLDER) ? false : undefined;
}

function systemBoot(): string {
  try {
    return readFileSync(BOOT_ID_FILE, "utf8").trim();
  } catch {
    return ulid();
  }
}
