import { existsSync, readFileSync } from "node:fs";
import { uptime } from "node:os";
import { ulid } from "ulid";

/** systemd-timesyncd makes this file once it has the time from the network, and removes it at boot. */
const SYNCHRONISED_FILE = "/run/systemd/timesync/synchronized";
const TIMESYNCD_FOLDER = "/run/systemd/timesync";
/** Another name at every boot of the machine. */
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
/** A difference that may come from reading two clocks one after the other, and from slewing. */
const TOLERANCE_MS = 1000;

/**
 * When something was noted: by the wall clock, and by one that nobody sets. A Raspberry Pi has no battery for its clock:
 * after a power cut it goes on from about when it went off, until the network tells it the time.
 */
export interface Stamp {
  /** The wall clock, milliseconds since 1970. */
  at: number;
  /** Milliseconds since the machine booted, those it was suspended included. */
  monoMs: number;
  /** Names the boot that `monoMs` counts from. */
  boot: string;
  /** What was known of the wall clock: right, not yet set, or nothing at all. */
  trust: "right" | "unset" | "unknown";
}

export interface ClockOptions {
  /** Default: the system's wall clock. */
  now?: () => Date;
  /** Milliseconds since the machine booted. Default: the system's. */
  monoMs?: () => number;
  /** Names the boot. Default: the system's, or a new one where there is none. */
  boot?: string;
  /** Whether the wall clock was set from the network; undefined where nothing tells. Default: what systemd-timesyncd says. */
  synchronised?: () => boolean | undefined;
}

export class DeviceClock {
  readonly boot: string;
  readonly #now: () => Date;
  readonly #monoMs: () => number;
  readonly #isSynchronised: () => boolean | undefined;
  #offset: number;
  #setOnce = false;

  constructor(options: ClockOptions = {}) {
    this.#now = options.now ?? (() => new Date());
    this.#monoMs = options.monoMs ?? (() => uptime() * 1000);
    this.#isSynchronised = options.synchronised ?? systemSynchronised;
    this.boot = options.boot ?? systemBoot();
    this.#offset = this.#now().getTime() - this.#monoMs();
  }

  /** A clock that is right by definition: what tests and simulations give as the time. */
  static of(now: () => Date): DeviceClock {
    return new DeviceClock({ now, synchronised: () => true });
  }

  now(): Date {
    return this.#now();
  }

  /** Milliseconds since the machine booted, those it was suspended included. Nobody sets this clock. */
  get runningMs(): number {
    return this.#monoMs();
  }

  /** False while it is known that the wall clock was not set since the machine booted. */
  get usable(): boolean {
    return this.#trust() !== "unset";
  }

  /** @param at the moment that is noted. Default: now */
  stamp(at: Date = this.#now()): Stamp {
    const monoMs = this.#monoMs() - (this.#now().getTime() - at.getTime());
    return { at: at.getTime(), monoMs: Math.round(monoMs), boot: this.boot, trust: this.#trust() };
  }

  /**
   * When a stamp was made, as far as is known now. One of an earlier boot whose clock was never set stays as it is:
   * how long the machine was off nobody knows.
   */
  timeOf({ at, monoMs, boot, trust }: Stamp): Date {
    if (trust === "right" || boot !== this.boot || !this.usable) return new Date(at);
    const corrected = this.#now().getTime() - (this.#monoMs() - monoMs);
    return new Date(Math.abs(corrected - at) > TOLERANCE_MS ? corrected : at);
  }

  /** How far the wall clock was set since this was asked last, milliseconds; 0 when it was not. */
  takeJump(): number {
    const offset = this.#now().getTime() - this.#monoMs();
    const jump = offset - this.#offset;
    this.#offset = offset;
    return Math.abs(jump) > TOLERANCE_MS ? Math.round(jump) : 0;
  }

  #trust(): Stamp["trust"] {
    if (this.#setOnce) return "right";
    const synchronised = this.#isSynchronised();
    this.#setOnce = synchronised === true;
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
