import { ClientTakenError, LeaseLostError, StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { partsOf, type Reply } from "../../../../platform/redis/reply.ts";
import { allProblem, ownerProblem } from "../../../../platform/retained-quota.ts";
import { AppendQueue, type Waiter } from "../../core/append-queue.ts";
import { type JournalMessage, withoutRetaining } from "../../journal.ts";
import { Batch } from "./batch.ts";
import { MAX_ENTRY_CHANNELS } from "./chunk.ts";
import { type DedupKey, dedupKeyOf, type Waiting } from "./dedup-key.ts";
import type { JournalKeys } from "./keys.ts";
import type { RedisJournalLimits } from "./limits.ts";
import type { OpenPublications } from "./open-publications.ts";
import type { RedisPublications } from "./publication-log.ts";
import type { RedisView } from "./redis-view.ts";
import { APPEND } from "./scripts.ts";

/** The options that all parts that write to Redis share. */
export interface WriterContext {
  connection: Connection;
  keys: JournalKeys;
  run: string;
  open: OpenPublications;
  publications: Pick<RedisPublications, "needs">;
  view: () => RedisView;
  /**
   * Reloads the journal, because Redis holds another epoch or, if `isRolledBack`, lost the end of this epoch. Resolves
   * when the new view is loaded.
   */
  onJournalChanged: (isRolledBack: boolean) => Promise<void>;
}

interface WriterOptions extends WriterContext {
  limits: RedisJournalLimits;
  retentionEvents: number;
  now: () => number;
  /** @param base the position before the batch @param previous the stamp of the chunk before the batch */
  onAppended: (batch: Batch, base: number, previous: string) => void;
}

/** The largest number of attempts to send a batch: again without duplicates, or after the journal was reloaded. */
const MAX_ATTEMPTS = 5;
/** How long an appended batch may wait for the preceding entries of other nodes. */
const PUBLISH_TIMEOUT_MS = 10_000;

/** The only writer of this node. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #queue: AppendQueue<DedupKey>;
  /** Appends without a result yet, by their dedup key. */
  readonly #pendingByKey = new Map<string, Waiting>();
  /** Batches that wait for their publication, by number. */
  readonly sent = new Map<number, Batch>();
  #batches = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#queue = new AppendQueue({
      ...{ limits: options.limits, store: "Redis", dedupKeyOf },
      find: ({ key }) => this.#pendingByKey.get(key),
      wait: ({ key }, waiting) => this.#pendingByKey.set(key, waiting),
      write: (messages) => this.#write(messages),
    });
  }

  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    const { unavailableReason } = this.#options.connection;
    if (unavailableReason !== undefined) throw new StoreUnavailableError(unavailableReason);
    checkChannels(message, this.#options.view());
    this.#queue.append(message, resolve, reject);
  }

  /** Resolves the appends of a published batch. */
  published(batch: Batch, base: number): void {
    if (!this.sent.delete(batch.number)) return;
    for (const waiting of batch.messages) this.#forget(waiting);
    this.#queue.accept(batch.messages, base);
  }

  /** Rejects the appends of all sent batches: they will not be published, because the journal is reloaded. */
  abandonSent(): Batch[] {
    const reason = "the journal in Redis was lost, or this node was disconnected from it for too long";
    const batches = [...this.sent.values()];
    for (const batch of batches) this.#refuse(batch, new StoreUnavailableError(reason));
    return batches;
  }

  /** Resolves when no append waits. Never rejects. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Never rejects. */
  async #write(taken: Waiting[]): Promise<void> {
    const { connection, keys, run, limits, retentionEvents, now, open } = this.#options;
    let messages = taken;
    for (let attempt = 0; messages.length > 0; attempt++) {
      const batch = new Batch(++this.#batches, messages, now());
      batch.isReplicated = !connection.waitsForReplicas;
      if (attempt >= MAX_ATTEMPTS) {
        this.#refuse(batch, new StoreUnavailableError("the journal in Redis kept changing while it was written"));
        return;
      }
      const { epoch, head, stamp } = this.#options.view();
      const args: (string | number | Buffer)[] = [keys.prefix, epoch, run, batch.number, head, stamp, batch.acceptedAt];
      args.push(limits.maxStateTopics, Number.isFinite(retentionEvents) ? retentionEvents : -1);
      args.push(limits.maxSessions, limits.maxSessionsPerSender, limits.maxSeqRanges);
      batch.putArguments(args, keys);
      batch.putOpen(args);
      const finished = open.takeDone();
      args.push(finished.length, ...finished);
      batch.putIncomingIds(args);
      this.sent.set(batch.number, batch);
      let answer: Reply;
      try {
        answer = await connection.run(APPEND, keys.meta, args);
      } catch (error) {
        open.restoreDone(finished);
        this.#refuse(batch, error);
        return;
      }
      const [verdict, ...details] = partsOf(answer);
      if (verdict === "ok") {
        if (connection.waitsForReplicas) await this.#replicate(batch);
        this.#accepted(batch, Number(details[0]), String(details[1]));
        return;
      }
      open.restoreDone(finished);
      this.sent.delete(batch.number);
      if (verdict === "repeated") {
        // No replica may have the earlier append, whose sender was not acknowledged.
        if (connection.waitsForReplicas && !(await this.#replicate(batch))) return;
        messages = this.#without(messages, details, this.#resolveRepeated);
      } else if (verdict === "fenced") messages = this.#without(messages, details, this.#rejectFenced);
      else if (verdict === "full") forgoRetaining(messages, details.map(Number));
      else {
        try {
          await this.#options.onJournalChanged(verdict === "behind");
        } catch (error) {
          this.#refuse(batch, error);
          return;
        }
      }
    }
  }

  /** Waits until replicas have the batch. If they have not, its appends are rejected. @returns whether they have it */
  async #replicate(batch: Batch): Promise<boolean> {
    try {
      await this.#options.connection.replicated();
    } catch (error) {
      this.#refuse(batch, error);
    }
    batch.isReplicated = true;
    return batch.messages.some(({ isSettled }) => !isSettled);
  }

  #accepted(batch: Batch, base: number, previous: string): void {
    // The batch is nearly always published at once. Otherwise it is published when the log has been read up to it.
    this.#options.onAppended(batch, base, previous);
    if (!this.sent.has(batch.number)) return;
    setTimeout(() => {
      if (this.sent.has(batch.number))
        this.#refuse(batch, new StoreUnavailableError("the preceding entries of other nodes cannot be read"));
    }, PUBLISH_TIMEOUT_MS).unref();
  }

  /** Settles the messages at these places, and returns the other messages. */
  #without(messages: readonly Waiting[], places: readonly Reply[], settle: (waiting: Waiting) => void): Waiting[] {
    const settled = new Set(places.map((place) => Number(place) - 1));
    return messages.filter((waiting, index) => {
      if (!settled.has(index)) return true;
      this.#forget(waiting);
      settle(waiting);
      return false;
    });
  }

  #resolveRepeated = (waiting: Waiting): void => this.#queue.acceptDuplicate(waiting);

  #rejectFenced = (waiting: Waiting): void => {
    const { fence } = waiting.message;
    this.#queue.reject(waiting, fence === undefined ? new ClientTakenError() : new LeaseLostError(fence.lease));
  };

  #refuse(batch: Batch, error: unknown): void {
    this.sent.delete(batch.number);
    for (const waiting of batch.messages) {
      this.#forget(waiting);
      this.#queue.reject(waiting, error);
    }
  }

  /** A later append of the same message is checked by Redis. */
  #forget({ dedupKey }: Waiting): void {
    if (dedupKey !== undefined) this.#pendingByKey.delete(dedupKey.key);
  }
}

/** @param full of each message without room: its place, and the topics of its owner, or -1, and of all */
function forgoRetaining(messages: readonly Waiting[], full: readonly number[]): void {
  for (let at = 0; at < full.length; at += 3) {
    const [place = 0, ofOwner = 0, ofAll = 0] = full.slice(at, at + 3);
    const message = messages[place - 1]?.message;
    if (message?.quota === undefined) continue;
    const { owner, maxOfOwner, maxOfAll } = message.quota;
    message.quota.exceeded = ofOwner < 0 ? allProblem(ofAll, maxOfAll) : ownerProblem(owner, ofOwner, maxOfOwner);
    withoutRetaining(message);
  }
}

function checkChannels({ channels, topic }: JournalMessage, view: RedisView): void {
  if (channels.length > MAX_ENTRY_CHANNELS)
    throw new RangeError(`${topic} is in ${channels.length} channels, but at most ${MAX_ENTRY_CHANNELS} are allowed`);
  for (const channel of channels) view.channels.check(channel);
}
