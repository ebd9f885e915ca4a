import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { reasonOf } from "../../platform/error-reason.ts";
import type { Damage } from "../../platform/level/damage.ts";

/** Only the newest records are kept, because a broken disk may cause the same damage at every start. */
const MAX_DAMAGES = 100;
/** The shortest time between two checks for a removed file. Health probes, which cause these checks, are frequent. */
const CHECK_INTERVAL_MS = 1_000;

const damagesSchema = z.array(z.object({ at: z.string(), store: z.string(), found: z.string(), missing: z.string() }));
type NotedDamage = z.infer<typeof damagesSchema>[number];

/** Without this file, nobody would notice later that a store was repaired. */
export function damageFile(dataPath: string): string {
  return join(dataPath, "damage.json");
}

/** Oldest first. @throws {Error} the file cannot be read */
export function readDamages(dataPath: string): NotedDamage[] {
  try {
    return damagesSchema.parse(JSON.parse(readFileSync(damageFile(dataPath), "utf8")));
  } catch (error) {
    if (reasonOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** Records damaged and lost data until an operator removes the file. */
export class DamageLog {
  readonly #dataPath: string;
  readonly #logger: Logger;
  #damages: NotedDamage[];
  #checkedAt = 0;

  constructor(dataPath: string, logger: Logger) {
    this.#dataPath = dataPath;
    this.#logger = logger;
    this.#damages = this.#read();
  }

  note(damage: Damage): void {
    this.#forgetIfRemoved();
    this.#damages = [...this.#damages, { at: new Date().toISOString(), ...damage }].slice(-MAX_DAMAGES);
    try {
      const file = damageFile(this.#dataPath);
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(`${file}.new`, `${JSON.stringify(this.#damages, undefined, 2)}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch (error) {
      this.#logger.warn({ err: error }, "damage could not be recorded in DATA_PATH");
    }
  }

  /** Texts for the public `/readyz`: which store was damaged, and when. Never contains data. */
  notices(): string[] {
    this.#forgetIfRemoved();
    const newest = new Map(this.#damages.map(({ store, at }) => [store, at]));
    return [...newest].map(
      ([store, at]) => `${store}: data was damaged or lost, found at ${at}: run skylapse doctor for details`,
    );
  }

  #forgetIfRemoved(): void {
    if (this.#damages.length === 0 || performance.now() - this.#checkedAt < CHECK_INTERVAL_MS) return;
    this.#checkedAt = performance.now();
    if (statSync(damageFile(this.#dataPath), { throwIfNoEntry: false }) === undefined) this.#damages = [];
  }

  #read(): NotedDamage[] {
    try {
      return readDamages(this.#dataPath);
    } catch (error) {
      const file = damageFile(this.#dataPath);
      this.#logger.warn({ err: error, file }, "the record of earlier damage cannot be read");
      const found = `${file} cannot be read`;
      return [{ at: new Date().toISOString(), store: "damage record", found, missing: "records of earlier damage" }];
    }
  }
}
