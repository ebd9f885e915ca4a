import { readdir, readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Power, Resources, Storage } from "../../contract/events.ts";

const THERMAL = "/sys/class/thermal";
const POWER_SUPPLY = "/sys/class/power_supply";

export type HostReadings = { storage?: Storage; power?: Power; resources: Resources };

export interface HostOptions {
  /** A path on the measured disk. Default: no disk is measured. */
  dataPath?: string;
  thermal?: string;
  powerSupply?: string;
}

export class Host {
  readonly #options: HostOptions;
  #cpu = process.cpuUsage();
  #at = performance.now();

  constructor(options: HostOptions = {}) {
    this.#options = options;
  }

  async read(): Promise<HostReadings> {
    const { dataPath, thermal = THERMAL, powerSupply = POWER_SUPPLY } = this.#options;
    const [storage, temperature, power] = await Promise.all([
      dataPath === undefined ? undefined : storageOf(dataPath),
      temperatureOf(thermal),
      powerOf(powerSupply),
    ]);
    return {
      ...(storage === undefined ? {} : { storage }),
      ...(power === undefined ? {} : { power }),
      resources: {
        cpu_percent: this.#cpuPercent(),
        memory_bytes: process.memoryUsage.rss(),
        ...(temperature === undefined ? {} : { temperature_c: temperature }),
      },
    };
  }

  /** Percentage of one core since the last call. */
  #cpuPercent(): number {
    const { user, system } = process.cpuUsage(this.#cpu);
    const tookMs = performance.now() - this.#at;
    this.#cpu = process.cpuUsage();
    this.#at = performance.now();
    return Math.min(100, Math.round(((user + system) / 1000 / Math.max(1, tookMs)) * 1000) / 10);
  }
}

async function storageOf(path: string): Promise<Storage | undefined> {
  try {
    const { blocks, bavail, bsize } = await statfs(path);
    return blocks > 0 ? { total_bytes: blocks * bsize, free_bytes: bavail * bsize } : undefined;
  } catch {
    return undefined;
  }
}

async function temperatureOf(folder: string): Promise<number | undefined> {
  const zones = (await namesIn(folder)).filter((zone) => zone.startsWith("thermal_zone"));
  const texts = await Promise.all(zones.map((zone) => textOf(join(folder, zone, "temp"))));
  const degrees = texts.map((text) => Number(text) / 1000).filter((value) => value > -50 && value < 200 && value !== 0);
  return degrees.length === 0 ? undefined : Math.round(Math.max(...degrees) * 10) / 10;
}

async function powerOf(folder: string): Promise<Power | undefined> {
  for (const name of await namesIn(folder)) {
    if ((await textOf(join(folder, name, "type"))) !== "Battery") continue;
    const percent = Number(await textOf(join(folder, name, "capacity")));
    const status = await textOf(join(folder, name, "status"));
    return {
      source: status === "Discharging" ? "battery" : "mains",
      ...(percent >= 0 && percent <= 100 ? { battery_percent: percent } : {}),
    };
  }
  return undefined;
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

async function textOf(file: string): Promise<string | undefined> {
  return (await readFile(file, "utf8").catch(() => undefined))?.trim();
}
