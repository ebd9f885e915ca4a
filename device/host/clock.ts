import { existsSync, readFileSync } from "node:fs";
import { uptime } from "node:os";
import { ulid } from "ulid";

/** systemd-timesyncd creates this file when it has received the network's time. After a boot the file is missing. */
const SYNCHRONISED_FILE = "/run/systemd/timesync/synchronized";
const TIMESYNCD_FOLDER = "/run/systemd/timesync";
/** Contains another id after every boot of the machine. */
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
/** Smaller differences may come from reading two clocks one after the other, and from slewing (gradual correction). */
const TOLERANCE_MS = 1000;

/**
 * A moment by the wall clock and by a monotonic clock. A Raspberry Pi has no battery for its clock: after a power cut the
 * clock continues from about the time of the cut until it is set from the network.
 */
export interface Stamp {
  /** The wall clock, milliseconds since 1970. */
  at: number;
  /** Milliseconds since the machine booted, including those while it was suspended. */
  monoMs: number;
  /** Identifies the boot from which `monoMs` counts. */
  boot: string;
  /** Whether the wall clock was right at that moment, not set yet, or unknown. */
  trust: "right" | "unset" | "unknown";
}

export interface ClockOptions {
  /** Default: the system's wall clock. */
  now?: () => Date;
  /** Milliseconds since the machine booted. Default: the system's. */
  monoMs?: () => number;
  /** Identifies the boot. Default: the system's boot id, or a new id on a system without one. */
  boot?: string;
  /** Whether the wall clock was set from the network; undefined when unknown. Default: asks systemd-timesyncd. */
  synchronised?: () => boolean | undefined;
}

/** The machine's clock, which may be set while the camera runs. */
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

  /** A clock that is always regarded as right, for tests and simulations. */
  static of(now: () => Date): DeviceClock {
    return new DeviceClock({ now, synchronised: () => true });
  }

  now(): Date {
    return this.#now();
  }

  /** Monotonic milliseconds since the machine booted, including those while it was suspended. */
  get runningMs(): number {
    return this.#monoMs();
  }

  /** False when the wall clock is known to be unset since the machine booted. */
  get usable(): boolean {
    return this.#trust() !== "unset";
  }

  /** @param at Default: now */
  stamp(at: Date = this.#now()): Stamp {
    const monoMs = this.#monoMs() - (this.#now().getTime() - at.getTime());
    return { at: at.getTime(), monoMs: Math.round(monoMs), boot: this.boot, trust: this.#trust() };
  }

  /**
   * The time of a stamp, corrected if the clock was set since. A stamp from an earlier boot whose clock was never set cannot
   * be corrected: it is unknown how long the machine was off.
   */
  timeOf({ at, monoMs, boot, trust }: Stamp): Date {
    if (trust === "right" || boot !== this.boot || !this.usable) return new Date(at);
    const corrected = this.#now().getTime() - (this.#monoMs() - monoMs);
    return new Date(Math.abs(corrected - at) > TOLERANCE_MS ? corrected : at);
  }

  /** Milliseconds by which the wall clock was set since the last call; 0 when it was not set. */
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
