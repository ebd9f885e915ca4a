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
  /** This run of this node. */
  run: string;
  limits: RedisJournalLimits;
  /** The most entries of a channel; Infinity for no limit. */
  retentionEvents: number;
  now: () => number;
  mqttOutbox: MqttOutbox;
  view: () => JournalView;
  /** Undefined while appends may be tried; else why not. */
  refusal: () => string | undefined;
  /** A batch is in the log, behind `base`; `previous` is the stamp before it. Its entries are not published yet. */
  onAppended: (batch: Batch, base: number, previous: string) => void;
  /** The journal is not the one this node knows, or `lost` some of it: resolves when it knows the one that is. */
  onJournalChanged: (lost: boolean) => Promise<void>;
  onFailed: (error: unknown) => void;
  onWorked: () => void;
}

const DUPLICATE: Appended = { position: undefined, duplicate: true };
/** How often a batch is sent again without what was seen before, or to another journal. */
const MAX_ATTEMPTS = 5;
/** How long a batch may wait for entries of other nodes that come before it. */
const PUBLISH_TIMEOUT_MS = 10_000;

/**
 * The one writer of this node. Appends that arrive while a call is under way wait and make up the next one. There is
 * one call at a time: so the order of the calls of `append` is the order of positions, whatever a call comes to.
 */
export class Writer {
  readonly #options: WriterOptions;
  /** Appends for the next batches, in order. */
  #waiting: Waiting[] = [];
  /** Appends that are not answered, by what they are recognised by. */
  readonly #pendingByKey = new Map<string, Waiting>();
  /** Batches that were sent and are not published, by number. */
  readonly #sent = new Map<number, Batch>();
  /** Appends that are not answered, repetitions among them. */
  #entries = 0;
  #bytes = 0;
  #batches = 0;
  #writing: Promise<void> | undefined;
  #idle: (() => void)[] = [];

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * @throws {RangeError} not a channel name
   * @throws {StoreUnavailableError} Redis is away, too much waits already, or one channel too many
   */
  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    const { limits, view, refusal } = this.#options;
    const refused = refusal();
    if (refused !== undefined) throw new StoreUnavailableError(refused);
    if (this.#entries >= limits.maxWaitingMessages || this.#bytes >= limits.maxWaitingBytes)
      throw new StoreUnavailableError(
        `${this.#entries} messages wait for Redis already: it is too slow for what comes in`,
      );
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

  /** The batch of this run that is sent and not published; undefined when it is unknown or was given up. */
  sent(number: number): Batch | undefined {
    return this.#sent.get(number);
  }

  /** The batch was published, behind `base`. */
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

  /** Nothing that was sent until now will be published here: the journal is another one. */
  abandonSent(): Batch[] {
    const batches = [...this.#sent.values()];
    for (const batch of batches)
      this.#refuse(
        batch,
        new StoreUnavailableError("the journal was lost, or this node was cut off from it for too long"),
      );
    return batches;
  }

  /** Resolves when nothing waits any more; never rejects. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined || this.#sent.size > 0)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #writeAll(): Promise<void> {
    do {
      // Whatever else arrives in this turn of the event loop joins.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#write(this.#take());
    } while (this.#waiting.length > 0);
    this.#writing = undefined;
    this.#settle();
  }

  /** Never rejects: those who wait are told. */
  async #write(taken: Waiting[]): Promise<void> {
    const { connection, keys, run, limits, retentionEvents, now, mqttOutbox } = this.#options;
    let messages = taken;
    for (let attempt = 0; messages.length > 0; attempt++) {
      const batch = new Batch(++this.#batches, messages, now());
      if (attempt >= MAX_ATTEMPTS) {
        this.#refuse(batch, new StoreUnavailableError("the journal changed again and again while it was written"));
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
    // Nearly always it is the next to be published; else it is when the log has been read up to it.
    this.#options.onAppended(batch, base, previous);
    if (!this.#sent.has(batch.number)) return;
    setTimeout(() => {
      if (this.#sent.has(batch.number))
        this.#refuse(batch, new StoreUnavailableError("entries of other nodes that come before are not to be read"));
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

  /** Leaves out what is in the journal already; its senders are told at once. */
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
    throw new RangeError(`${topic} is in ${channels.length} channels, more than the journal's ${MAX_ENTRY_CHANNELS}`);
  for (const channel of channels) view.channels.check(channel);
}
