import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Appended, JournalMessage } from "../../journal.ts";
import { Batch } from "./batch.ts";
import { MAX_ENTRY_CHANNELS } from "./chunk.ts";
import { asUnavailable, type Connection, partsOf, type Reply } from "./connection.ts";
import type { JournalView } from "./journal-view.ts";
import type { JournalKeys } from "./keys.ts";
import type { RedisJournalLimits } from "./limits.ts";
import type { MqttOutbox } from "./mqtt-outbox.ts";
import { APPEND } from "./scripts/append.ts";
import { dedupKeyOf, type Waiter, type Waiting } from "./waiting.ts";

export interface WriterOptions {
  connection: Connection;
  keys: JournalKeys;
  /** The random name of this run of this node. */
  run: string;
  limits: RedisJournalLimits;
  /** The largest number of entries of a channel; Infinity for no limit. */
  retentionEvents: number;
  now: () => number;
  mqttOutbox: MqttOutbox;
  view: () => JournalView;
  /** Why appends fail without being sent; undefined when they can be sent. */
  refusal: () => string | undefined;
  /**
   * Publishes a batch that was appended.
   * @param base the position before the batch
   * @param previous the stamp of the chunk before the batch
   */
  onAppended: (batch: Batch, base: number, previous: string) => void;
  /**
   * Reloads the journal, because Redis holds another epoch or, if `isRolledBack`, lost the end of this epoch. Resolves
   * when the new view is loaded.
   */
  onJournalChanged: (isRolledBack: boolean) => Promise<void>;
  onFailed: (error: unknown) => void;
  onWorked: () => void;
}

const DUPLICATE: Appended = { position: undefined, duplicate: true };
/** The largest number of attempts to send a batch: again without duplicates, or after the journal was reloaded. */
const MAX_ATTEMPTS = 5;
/** How long an appended batch may wait for the preceding entries of other nodes. */
const PUBLISH_TIMEOUT_MS = 10_000;

/**
 * The only writer of this node. Appends that arrive during a call wait and share the next call. Calls never overlap, so
 * the order of the calls of `append` is the order of positions, even when a call fails.
 */
export class Writer {
  readonly #options: WriterOptions;
  /** Appends for the next batches, in order. */
  #waiting: Waiting[] = [];
  /** Appends without a result yet, by their dedup key. */
  readonly #pendingByKey = new Map<string, Waiting>();
  /** Batches that were sent and are not published yet, by number. */
  readonly #sent = new Map<number, Batch>();
  /** The number of appends without a result yet, including repeated messages. */
  #entries = 0;
  #bytes = 0;
  #batches = 0;
  #writing: Promise<void> | undefined;
  #idle: (() => void)[] = [];

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * @throws {RangeError} an invalid channel name
   * @throws {StoreUnavailableError} Redis is unreachable, too many appends wait, or the journal cannot add another
   *   channel
   */
  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    const { limits, view, refusal } = this.#options;
    const refused = refusal();
    if (refused !== undefined) throw new StoreUnavailableError(refused);
    if (this.#entries >= limits.maxWaitingMessages || this.#bytes >= limits.maxWaitingBytes)
      throw new StoreUnavailableError(`${this.#entries} messages already wait for Redis: Redis is too slow for them`);
    checkChannels(message, view());
    const dedupKey = dedupKeyOf(message.origin);
    const found = dedupKey === undefined ? undefined : this.#pendingByKey.get(dedupKey.key);
    this.#entries++;
    if (found !== undefined) {
      found.repetitions ??= [];
      found.repetitions.push({ resolve, reject });
      return;
    }
    const cost = message.topic.length + message.body.length + (message.publish?.payload.byteLength ?? 0);
    const waiting: Waiting = { message, dedupKey, cost, resolve, reject, repetitions: undefined };
    this.#bytes += cost;
    if (dedupKey !== undefined) this.#pendingByKey.set(dedupKey.key, waiting);
    this.#waiting.push(waiting);
    this.#writing ??= this.#writeAll();
  }

  /** The batch that was sent and is not published yet. Undefined when it is unknown or was abandoned. */
  sent(number: number): Batch | undefined {
    return this.#sent.get(number);
  }

  /** Resolves the appends of a published batch. @param base the position before the batch */
  published(batch: Batch, base: number): void {
    if (!this.#sent.delete(batch.number)) return;
    for (let index = 0; index < batch.messages.length; index++) {
      const waiting = batch.messages[index];
      if (waiting === undefined) continue;
      this.#release(waiting);
      waiting.resolve({ position: base + index + 1, duplicate: false });
      for (const repetition of waiting.repetitions ?? []) repetition.resolve(DUPLICATE);
    }
    this.#settle();
  }

  /** Rejects the appends of all sent batches: they will not be published, because the journal is reloaded. */
  abandonSent(): Batch[] {
    const batches = [...this.#sent.values()];
    for (const batch of batches)
      this.#refuse(
        batch,
        new StoreUnavailableError("the journal in Redis was lost, or this node was disconnected from it for too long"),
      );
    return batches;
  }

  /** Resolves when no append waits. Never rejects. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined || this.#sent.size > 0)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #writeAll(): Promise<void> {
    do {
      // Appends of the same turn of the event loop join this call.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#write(this.#take());
    } while (this.#waiting.length > 0);
    this.#writing = undefined;
    this.#settle();
  }

  /** Sends a batch and settles its appends. Never rejects. */
  async #write(taken: Waiting[]): Promise<void> {
    const { connection, keys, run, limits, retentionEvents, now, mqttOutbox } = this.#options;
    let messages = taken;
    for (let attempt = 0; messages.length > 0; attempt++) {
      const batch = new Batch(++this.#batches, messages, now());
      if (attempt >= MAX_ATTEMPTS) {
        this.#refuse(batch, new StoreUnavailableError("the journal in Redis kept changing while it was written"));
        return;
      }
      const delivered = mqttOutbox.takeDone();
      const { epoch, head, stamp } = this.#options.view();
      const args: (string | number | Buffer)[] = [keys.prefix, epoch, run, batch.number, head, stamp, batch.acceptedAt];
      args.push(limits.maxStateTopics, Number.isFinite(retentionEvents) ? retentionEvents : -1);
      args.push(limits.maxSessions, limits.maxSessionsPerSender, limits.maxSeqRanges);
      batch.putArguments(args);
      args.push(delivered.length, ...delivered);
      this.#sent.set(batch.number, batch);
      let answer: Reply;
      try {
        const refused = this.#options.refusal();
        if (refused !== undefined) throw new StoreUnavailableError(refused);
        answer = await connection.run(APPEND, keys.meta, args);
      } catch (error) {
        mqttOutbox.restoreDone(delivered);
        this.#options.onFailed(error);
        this.#refuse(batch, asUnavailable(error));
        return;
      }
      const [verdict, ...details] = partsOf(answer);
      if (verdict === "ok") {
        this.#options.onWorked();
        this.#accepted(batch, Number(details[0]), String(details[1]));
        return;
      }
      mqttOutbox.restoreDone(delivered);
      this.#sent.delete(batch.number);
      if (verdict === "repeated") messages = this.#withoutRepeated(messages, details);
      else {
        try {
          await this.#options.onJournalChanged(verdict === "behind");
        } catch (error) {
          this.#refuse(batch, asUnavailable(error));
          return;
        }
      }
    }
  }

  #accepted(batch: Batch, base: number, previous: string): void {
    // The batch is nearly always published at once. Otherwise it is published when the log has been read up to it.
    this.#options.onAppended(batch, base, previous);
    if (!this.#sent.has(batch.number)) return;
    setTimeout(() => {
      if (this.#sent.has(batch.number))
        this.#refuse(batch, new StoreUnavailableError("the preceding entries of other nodes cannot be read"));
    }, PUBLISH_TIMEOUT_MS).unref();
  }

  #take(): Waiting[] {
    const { maxBatchMessages, maxBatchBytes } = this.#options.limits;
    let bytes = 0;
    let count = 0;
    for (const { cost } of this.#waiting) {
      bytes += cost;
      if (count > 0 && (count >= maxBatchMessages || bytes > maxBatchBytes)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** Removes messages that are already in the journal, and resolves their appends as duplicates. */
  #withoutRepeated(messages: readonly Waiting[], places: readonly Reply[]): Waiting[] {
    const repeated = new Set(places.map((place) => Number(place) - 1));
    return messages.filter((waiting, index) => {
      if (!repeated.has(index)) return true;
      this.#release(waiting);
      waiting.resolve(DUPLICATE);
      for (const repetition of waiting.repetitions ?? []) repetition.resolve(DUPLICATE);
      return false;
    });
  }

  #refuse(batch: Batch, error: unknown): void {
    this.#sent.delete(batch.number);
    for (const waiting of batch.messages) {
      this.#release(waiting);
      waiting.reject(error);
      for (const repetition of waiting.repetitions ?? []) repetition.reject(error);
    }
    this.#settle();
  }

  #release({ dedupKey, cost, repetitions }: Waiting): void {
    if (dedupKey !== undefined) this.#pendingByKey.delete(dedupKey.key);
    this.#bytes -= cost;
    this.#entries -= 1 + (repetitions?.length ?? 0);
  }

  #settle(): void {
    if (this.#writing !== undefined || this.#sent.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

function checkChannels({ channels, topic }: JournalMessage, view: JournalView): void {
  if (channels.length > MAX_ENTRY_CHANNELS)
    throw new RangeError(`${topic} is in ${channels.length} channels, but at most ${MAX_ENTRY_CHANNELS} are allowed`);
  for (const channel of channels) view.channels.check(channel);
}
