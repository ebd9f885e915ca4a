import { randomBytes } from "node:crypto";
import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type {
  AppendedPublication,
  EarlierRows,
  LoggedPublication,
  TakenOverRows,
} from "../../../../platform/publication-log.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { type Frame, maxFrameBytes, readFrame, writeFrame } from "../../core/publication-frames.ts";
import type { Journal } from "../../journal.ts";
import { INCOMING_ID_SECONDS } from "./batch.ts";
import type { JournalKeys } from "./keys.ts";
import { encodeOpen } from "./publication-rows.ts";
import type { RedisView } from "./redis-view.ts";
import { TAKE_OVER } from "./scripts.ts";

/** The size of a place: a publication's number in its batch, from 1, before its frame. */
const PLACE_BYTES = 2;
/** A holder of the lock that stands still for this long loses it. */
const LOCK_LIFE_MS = 5_000;
const RENEWAL_MS = 1_000;
const RETRY_MS = 200;
/** A call of the script with so many arguments, or so large ones, takes Redis a few milliseconds. */
const MAX_ARGUMENTS = 2_000;
const MAX_ARGUMENT_BYTES = 1024 * 1024;

type Arguments = readonly (string | number | Buffer)[];

interface RedisEarlierRowsOptions {
  connection: Connection;
  keys: JournalKeys;
  append: Journal["append"];
  view: () => Pick<RedisView, "head" | "states">;
  logger: Logger;
}

/**
 * The rows of versions before the log: each run of a node has a hash with the publications that it accepted and did not
 * deliver to all MQTT subscribers. All these runs have ended: see `scripts/take-over.lua`.
 */
export class RedisEarlierRows implements EarlierRows {
  readonly #options: RedisEarlierRowsOptions;
  /** The fencing value: of several holders of the lock, only what the last one does has an effect. */
  readonly #token = randomBytes(9).toString("base64url");
  #appended = 0;

  constructor(options: RedisEarlierRowsOptions) {
    this.#options = options;
  }

  async alone(task: () => Promise<void>): Promise<void> {
    const { logger } = this.#options;
    for (let attempt = 0; !(await this.#run(["A", LOCK_LIFE_MS])); attempt++) {
      if (attempt === 0)
        logger.info("another node takes over the data of an earlier version: waiting until it is done");
      await after(RETRY_MS);
    }
    const renewal = setInterval(() => void this.#run(["N", LOCK_LIFE_MS]).catch(() => {}), RENEWAL_MS);
    try {
      await task();
    } finally {
      clearInterval(renewal);
      // Otherwise, the lock expires.
      await this.#run(["F"]).catch(() => {});
    }
  }

  async mark(): Promise<string | undefined> {
    const { connection, keys } = this.#options;
    const [mark] = await connection.do((redis) => redis.hmget(keys.meta, "takenOver"));
    return mark ?? undefined;
  }

  async *undelivered(): AsyncGenerator<LoggedPublication> {
    const { connection, keys } = this.#options;
    const batches: { run: string; base: number }[] = [];
    for (const run of await this.#runs())
      for (const name of await connection.do((redis) => redis.hkeys(keys.undelivered(run))))
        batches.push({ run, base: Number(name) });
    for (const batch of batches.sort((a, b) => a.base - b.base)) yield* await this.#batch(batch);
  }

  async append({ topic, incomingId, ...publish }: AppendedPublication): Promise<number> {
    // After another run has got the lock, all of these numbers count as repeated.
    const origin = { sender: "mqtt", id: undefined, session: this.#token, seq: ++this.#appended };
    const entry = { topic, channels: [], camera: undefined, body: "", state: undefined, origin };
    const { position } = await this.#options.append({ ...entry, publish, incomingId });
    if (position === undefined) throw lost();
    return position;
  }

  async put({ retained = [], incomingIds = [], open = [], sessions = [], wills = [] }: TakenOverRows): Promise<void> {
    let args: (string | number | Buffer)[] = [];
    let bytes = 0;
    const write = async () => {
      if (args.length > 0) await this.#write(args);
      args = [];
      bytes = 0;
    };
    const add = async (...operation: Arguments) => {
      args.push(...operation);
      for (const part of operation) bytes += typeof part === "number" ? 0 : part.length;
      if (args.length >= MAX_ARGUMENTS || bytes >= MAX_ARGUMENT_BYTES) await write();
    };
    for (const publication of retained) {
      const frame = Buffer.allocUnsafe(maxFrameBytes(publication.topic, publication));
      const end = writeFrame(frame, 0, publication.topic, publication);
      await add("r", publication.topic, frame.subarray(0, end));
    }
    for (const { session, messageId } of incomingIds) await add("i", session, messageId, INCOMING_ID_SECONDS);
    for (const publication of open) await add("o", publication.position, encodeOpen(publication.topic, publication));
    for (const [client, row] of sessions) await add("s", client, row);
    for (const [client, row] of wills) await add("w", client, row);
    await write();
  }

  async end(mark: string): Promise<void> {
    await this.#write(["E", mark, JSON.stringify(await this.#runs())]);
  }

  /** All runs that may have left publications, and others. */
  #runs(): Promise<string[]> {
    const { connection, keys } = this.#options;
    return connection.do((redis) => redis.zrange(keys.estates, "0", "-1"));
  }

  async #batch({ run, base }: { run: string; base: number }): Promise<LoggedPublication[]> {
    const { connection, keys, logger } = this.#options;
    const name = String(base);
    const [value, partial] = await connection.do((redis) =>
      Promise.all([redis.hgetBuffer(keys.undelivered(run), name), redis.hget(keys.partial(run), name)]),
    );
    if (value === null) return [];
    try {
      const pending: unknown = partial === null ? undefined : JSON.parse(partial);
      const found: LoggedPublication[] = [];
      for (const { place, changesState, ...publication } of decode(value)) {
        const position = base + place;
        if (Array.isArray(pending) && !pending.includes(position)) continue;
        const { topic, payload, retain } = publication;
        // An outdated message must not replace the retained message that was set since.
        const isStale = changesState && this.#isSuperseded(topic, position, payload.length === 0);
        found.push({ ...publication, position, retain: retain && !isStale });
      }
      return found;
    } catch (err) {
      logger.error({ err, run, base }, "undelivered publications of one write are unreadable");
      return [];
    }
  }

  /** Whether the topic's state changed after `position`. @param isClear the message at `position` clears the state */
  #isSuperseded(topic: string, position: number, isClear: boolean): boolean {
    const { head, states } = this.#options.view();
    const last = states.get(topic)?.position ?? 0;
    // A clear removes the state. So after a `set` at `position`, a missing or older state means that a clear came
    // later.
    return last > position || (!isClear && last < position && position <= head);
  }

  async #write(args: Arguments): Promise<void> {
    if (!(await this.#run(args))) throw lost();
  }

  async #run(args: Arguments): Promise<boolean> {
    const { connection, keys } = this.#options;
    return (await connection.run(TAKE_OVER, keys.meta, [keys.prefix, this.#token, ...args])) === 1;
  }
}

function lost(): StoreUnavailableError {
  return new StoreUnavailableError("this node stood still for too long, and another node does it now");
}

function decode(value: Buffer): (Frame & { place: number })[] {
  const publications: (Frame & { place: number })[] = [];
  for (let at = 0; at < value.length; ) {
    const place = value.readUInt16BE(at);
    const [frame, end] = readFrame(value, at + PLACE_BYTES);
    publications.push({ place, ...frame });
    at = end;
  }
  return publications;
}
