import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import type { Damage } from "../../platform/level/damage.ts";

/** The newest are kept: a disk that breaks at every start says the same again and again. */
const MAX_DAMAGES = 100;
/** How old an answer of {@link DamageLog.notices} may be, milliseconds: probes ask often. */
const KEPT_MS = 1_000;

const damagesSchema = z.array(z.object({ at: z.string(), store: z.string(), found: z.string(), missing: z.string() }));
export type NotedDamage = z.infer<typeof damagesSchema>[number];

/** Where damage is noted until an operator has seen to it: a repair leaves no other trace. */
export function damageFile(dataPath: string): string {
  return join(dataPath, "damage.json");
}

/** @throws {Error} the file cannot be read */
export function readDamages(dataPath: string): NotedDamage[] {
  try {
    return damagesSchema.parse(JSON.parse(readFileSync(damageFile(dataPath), "utf8")));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** What was found to be damaged or lost, until an operator removes its file. */
export class DamageLog {
  readonly #dataPath: string;
  readonly #logger: Logger;
  #damages: NotedDamage[];
  #lookedAt = 0;

  constructor(dataPath: string, logger: Logger) {
    this.#dataPath = dataPath;
    this.#logger = logger;
    this.#damages = this.#read();
  }

  note(damage: Damage): void {
    this.#look();
    this.#damages = [...this.#damages, { at: new Date().toISOString(), ...damage }].slice(-MAX_DAMAGES);
    try {
      const file = damageFile(this.#dataPath);
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(`${file}.new`, `${JSON.stringify(this.#damages, undefined, 2)}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch (error) {
      this.#logger.warn({ err: error }, "damage could not be noted in DATA_PATH");
    }
  }

  /** For everybody who asks whether the server is ready: which store, and when; never whose data. */
  notices(): string[] {
    this.#look();
    const newest = new Map(this.#damages.map(({ store, at }) => [store, at]));
    return [...newest].map(
      ([store, at]) => `${store}: something was lost or damaged, found ${at}: skylapse doctor says what`,
    );
  }

  /** An operator may have removed the file. */
  #look(): void {
    if (this.#damages.length === 0 || performance.now() - this.#lookedAt < KEPT_MS) return;
    this.#lookedAt = performance.now();
    if (statSync(damageFile(this.#dataPath), { throwIfNoEntry: false }) === undefined) this.#damages = [];
  }

  #read(): NotedDamage[] {
    try {
      return readDamages(this.#dataPath);
    } catch (error) {
      const file = damageFile(this.#dataPath);
      this.#logger.warn({ err: error, file }, "notes of earlier damage cannot be read");
      const found = `${file} cannot be read`;
      return [{ at: new Date().toISOString(), store: "notes", found, missing: "notes of earlier damage" }];
    }
  }
}
