import type { Logger } from "pino";
import { z } from "zod";
import type { SharedSettings } from "../config.ts";

/** A living node. */
export interface Member {
  readonly id: string;
  readonly name: string;
  /** Milliseconds since 1970, by the clock of Redis. */
  readonly startedAt: number;
  readonly lastSeenAt: number;
  /** How far the clock of the node's machine is ahead of the clock of Redis. Undefined until it is measured. */
  readonly clockMs: number | undefined;
}

export interface Disagreement {
  /** The id of the other node. */
  readonly nodeId: string;
  /** The environment variable, `clock` or `name`. */
  readonly subject: string;
  /** What differs and what to do, without values. */
  readonly message: string;
}

/** Clocks that are further apart are reported. */
const CLOCK_TOLERANCE_MS = 5_000;
/** A heartbeat that is later than this after the start of this node is not one of its predecessor. */
const NAME_TOLERANCE_MS = 1_000;

const settingsSchema = z.record(z.string(), z.string());

interface AgreementOptions {
  nodeId: string;
  name: string;
  settings: SharedSettings;
  logger: Logger;
}

/** `settings` is JSON, or empty if they do not differ or are not known. */
type ComparedMember = Member & { settings: string };

interface Difference extends Disagreement {
  /** For the log. A difference is logged once, and again when these change. */
  details: Readonly<Record<string, string | number>>;
}

/** Compares settings and clocks with those of the other nodes, and logs what differs. */
export class Agreement {
  readonly #options: AgreementOptions;
  #found = new Map<string, Difference>();

  constructor(options: AgreementOptions) {
    this.#options = options;
  }

  get disagreements(): readonly Disagreement[] {
    return [...this.#found.values()].map(({ nodeId, subject, message }) => ({ nodeId, subject, message }));
  }

  /** @param own the clock of this machine, and when this node has started by the clock of Redis */
  compare(members: readonly ComparedMember[], own: { clockMs: number | undefined; startedAt: number }): void {
    const { nodeId, logger } = this.#options;
    const others = members.filter(({ id }) => id !== nodeId);
    const before = this.#found;
    this.#found = new Map();
    for (const difference of others.flatMap((other) => [...this.#differences(other, own)])) {
      const key = `${difference.nodeId} ${difference.subject}`;
      this.#found.set(key, difference);
      const known = before.get(key);
      if (known === undefined || JSON.stringify(known.details) !== JSON.stringify(difference.details))
        logger.warn({ subject: difference.subject, ...difference.details }, difference.message);
    }
    const living = new Set(others.map(({ id }) => id));
    for (const [key, { nodeId: other, subject }] of before)
      if (!this.#found.has(key) && living.has(other))
        logger.info({ subject, other }, "this node and another agree again");
  }

  *#differences(other: ComparedMember, own: { clockMs: number | undefined; startedAt: number }): Generator<Difference> {
    const { name, settings } = this.#options;
    const about = { nodeId: other.id };
    const details = { other: other.id, otherName: other.name };
    const theirs = other.settings === "" ? {} : settingsSchema.parse(JSON.parse(other.settings));
    for (const [subject, { value, isShown }] of settings) {
      const there = theirs[subject];
      if (there === undefined || there === value) continue;
      const message = `${subject} differs at node ${other.id}: set it to the same value at all nodes`;
      yield { ...about, subject, message, details: isShown ? { ...details, here: value, there } : details };
    }
    const apartMs = (other.clockMs ?? 0) - (own.clockMs ?? 0);
    if (other.clockMs !== undefined && own.clockMs !== undefined && Math.abs(apartMs) > CLOCK_TOLERANCE_MS) {
      const apart = `${Math.round(Math.abs(apartMs) / 1000)} s ${apartMs > 0 ? "ahead of" : "behind"}`;
      const message = `the clock of node ${other.id} is ${apart} the clock of this node: synchronise both`;
      yield { ...about, subject: "clock", message, details };
    }
    if (name !== "" && other.name === name && other.lastSeenAt > own.startedAt + NAME_TOLERANCE_MS) {
      const message = `node ${other.id} has the same host name and DATA_PATH as this node: give each node its own`;
      yield { ...about, subject: "name", message, details };
    }
  }
}
