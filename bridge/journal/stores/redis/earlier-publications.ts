import type { Logger } from "pino";
import type { Journal } from "../../journal.ts";
import { type Frame, readFrame } from "../publication-frames.ts";
import type { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";
import { encodeOpen } from "./publication-rows.ts";

/** The size of a place: a publication's number in its batch, from 1, before its frame. */
const PLACE_BYTES = 2;

interface EarlierPublicationsOptions {
  connection: Connection;
  keys: JournalKeys;
  append: Journal["append"];
  /** Whether the topic is that of a command, which the relay sends in its own name. */
  isCommand: (topic: string) => boolean;
  /** Whether the topic's state changed after `position`. @param isClear the message at `position` clears the state */
  isSuperseded: (topic: string, position: number, isClear: boolean) => boolean;
  logger: Logger;
}

/**
 * Takes over what the version before the log has left: each of its runs has a hash with publications that it accepted and
 * did not deliver to all MQTT subscribers. They are appended to the log. Each has an id, so an interrupted take-over that
 * begins again appends nothing twice. Commands become unfinished commands of the same run.
 */
export class EarlierPublications {
  readonly #options: EarlierPublicationsOptions;
  readonly #runs = new Set<string>();
  #working: Promise<void> | undefined;

  constructor(options: EarlierPublicationsOptions) {
    this.#options = options;
  }

  get isPending(): boolean {
    return this.#runs.size > 0;
  }

  /** Adds a dead run, which this node has claimed. */
  add(run: string): void {
    this.#runs.add(run);
  }

  /** Takes over all runs that were added. Does the rest at the next call if it fails. @throws {StoreUnavailableError} */
  takeOver(): Promise<void> {
    this.#working ??= this.#takeOver().finally(() => {
      this.#working = undefined;
    });
    return this.#working;
  }

  async #takeOver(): Promise<void> {
    const { connection, keys, logger } = this.#options;
    // First come the messages that were in the queues of sessions, which the broker takes over when it starts.
    if ((await connection.do((redis) => redis.exists(keys.earlierSessions))) === 1) return;
    for (const run of this.#runs) {
      const names = await connection.do((redis) => redis.hkeys(keys.undelivered(run)));
      const counts = { publications: 0, commands: 0 };
      for (const base of names.map(Number).sort((a, b) => a - b)) await this.#takeOverRow(run, base, counts);
      await connection.do((redis) => redis.del(keys.partial(run)));
      this.#runs.delete(run);
      if (names.length > 0) logger.info({ run, ...counts }, "took over the undelivered messages of an earlier version");
    }
  }

  async #takeOverRow(run: string, base: number, counts: { publications: number; commands: number }): Promise<void> {
    const { connection, keys, append, isCommand, isSuperseded } = this.#options;
    const name = String(base);
    const [value, partial] = await connection.do((redis) =>
      Promise.all([redis.hgetBuffer(keys.undelivered(run), name), redis.hget(keys.partial(run), name)]),
    );
    if (value === null) return;
    const pending: unknown = partial === null ? undefined : JSON.parse(partial);
    await Promise.all(
      decode(value).map(async ({ place, topic, changesState, ...publication }) => {
        const position = base + place;
        if (Array.isArray(pending) && !pending.includes(position)) return;
        if (isCommand(topic)) {
          counts.commands++;
          const open = encodeOpen(topic, publication);
          await connection.do((redis) => redis.hset(keys.open(run), String(position), open));
          return;
        }
        counts.publications++;
        // An outdated message must not replace the retained message that was set since.
        const isStale = changesState && isSuperseded(topic, position, publication.payload.length === 0);
        const origin = { sender: "mqtt", id: `${run} ${position}`, session: undefined, seq: undefined };
        const entry = { topic, channels: [], camera: undefined, body: "", state: undefined, origin };
        await append({ ...entry, publish: { ...publication, retain: publication.retain && !isStale } });
      }),
    );
    await connection.do((redis) => redis.hdel(keys.undelivered(run), name));
  }
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
