import type { Logger } from "pino";
import { z } from "zod";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import type { Cluster, StoredDocument } from "../cluster/cluster.ts";

interface SharedCommandQueueOptions {
  cluster: Pick<Cluster, "documents" | "nodeId" | "nodes">;
  /** Includes the command in flight. */
  maxPerCamera: number;
  /** The interval of checks for stopped nodes, whose commands block the queues. Default 1,000. */
  checkIntervalMs?: number;
  logger: Logger;
}

const COLLECTION = "command-queues";
/**
 * How long an expired command stays in the queue. A node whose clock is ahead must not send the next command while this
 * command is still in flight.
 */
const EXPIRY_MARGIN_MS = 2_000;
/** Nodes that change a queue at the same time retry. A node should never need this many attempts. */
const MAX_ATTEMPTS = 50;
const MAX_RETRY_MS = 20;

/** `until` is in milliseconds since 1970. */
const queueSchema = z.array(z.object({ id: z.string(), node: z.string(), until: z.number() }));
type QueueEntry = z.infer<typeof queueSchema>[number];

/** One command queue per camera, shared by all nodes, in a document. Its first command is the next to send. */
export class SharedCommandQueue {
  readonly #options: SharedCommandQueueOptions;
  /** The callbacks of this node's waiting commands, by camera and command id. */
  readonly #waiting = new Map<string, Map<string, () => void>>();
  /** Runs this node's changes of one camera's queue one after the other. */
  readonly #tasks = new KeyedQueue();
  readonly #unwatch: () => void;
  readonly #timer: NodeJS.Timeout;

  constructor(options: SharedCommandQueueOptions) {
    this.#options = options;
    this.#unwatch = options.cluster.documents.watch(COLLECTION, (camera) => {
      if (camera === undefined) this.#checkAll();
      else this.#check(camera);
    });
    this.#timer = setInterval(() => this.#checkAll(), options.checkIntervalMs ?? 1_000).unref();
  }

  /**
   * Adds a command to the end of the camera's queue.
   * @param expiresAt when the command is removed automatically, milliseconds since 1970
   * @param onFirst called once, when the command is the first in the queue
   * @returns false when the queue is full
   * @throws {StoreUnavailableError}
   */
  enter(camera: string, id: string, expiresAt: number, onFirst: () => void): Promise<boolean> {
    return this.#tasks.run(camera, async () => {
      const entry = { id, node: this.#options.cluster.nodeId, until: expiresAt + EXPIRY_MARGIN_MS };
      const queue = await this.#change(camera, (entries) =>
        entries.length < this.#options.maxPerCamera ? [...entries, entry] : undefined,
      );
      if (queue === undefined) return false;
      const waiting = this.#waiting.get(camera) ?? new Map<string, () => void>();
      this.#waiting.set(camera, waiting.set(id, onFirst));
      this.#callFirst(camera, queue);
      return true;
    });
  }

  /** Removes a command, even one that {@link enter} is still adding. Never throws: a command may expire instead. */
  async leave(camera: string, id: string): Promise<void> {
    const { logger } = this.#options;
    try {
      await this.#tasks.run(camera, async () => {
        this.#deleteWaiting(camera, id);
        await this.#change(camera, (entries) => {
          const others = entries.filter((entry) => entry.id !== id);
          return others.length === entries.length ? undefined : others;
        });
      });
    } catch (error) {
      logger.warn({ err: error, camera, command: id }, "command not removed from the shared queue: it expires there");
    }
  }

  /** Waits for running changes. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#unwatch();
    await this.#tasks.idle();
  }

  /** @returns the queue after the change; undefined when `change` returns undefined to change nothing */
  async #change(
    camera: string,
    change: (entries: QueueEntry[]) => QueueEntry[] | undefined,
  ): Promise<QueueEntry[] | undefined> {
    const { documents } = this.#options.cluster;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const before = await documents.get(COLLECTION, camera);
      const after = change(await this.#liveEntries(before));
      if (after === undefined) return undefined;
      const expiresAt = Math.max(...after.map(({ until }) => until));
      const ifVersion = before?.version;
      const isChanged =
        after.length > 0
          ? (await documents.put(COLLECTION, camera, after, { ifVersion: ifVersion ?? null, expiresAt })) !== undefined
          : ifVersion === undefined || (await documents.delete(COLLECTION, camera, { ifVersion }));
      if (isChanged) return after;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * MAX_RETRY_MS));
    }
    throw new Error(`the command queue of ${camera} was changed by other nodes at each of ${MAX_ATTEMPTS} attempts`);
  }

  /** The commands that have not expired and whose node is running. */
  async #liveEntries(document: StoredDocument | undefined): Promise<QueueEntry[]> {
    const { nodeId, nodes } = this.#options.cluster;
    const stored = queueSchema.safeParse(document?.value ?? []).data ?? [];
    const now = Date.now();
    const entries = stored.filter(({ until }) => until > now);
    if (entries.every(({ node }) => node === nodeId)) return entries;
    const alive = new Set((await nodes()).map(({ id }) => id));
    return entries.filter(({ node }) => alive.has(node));
  }

  #checkAll(): void {
    for (const camera of this.#waiting.keys()) this.#check(camera);
  }

  /** Calls back if a command of this node is now the first. While the store is unavailable, no command is the first. */
  #check(camera: string): void {
    if (!this.#waiting.has(camera)) return;
    this.#tasks
      .run(camera, async () => {
        if (!this.#waiting.has(camera)) return;
        const document = await this.#options.cluster.documents.get(COLLECTION, camera);
        this.#callFirst(camera, await this.#liveEntries(document));
      })
      .catch(() => undefined);
  }

  #callFirst(camera: string, [first]: readonly QueueEntry[]): void {
    const onFirst = first === undefined ? undefined : this.#waiting.get(camera)?.get(first.id);
    if (first === undefined || onFirst === undefined) return;
    this.#deleteWaiting(camera, first.id);
    onFirst();
  }

  #deleteWaiting(camera: string, id: string): void {
    const waiting = this.#waiting.get(camera);
    waiting?.delete(id);
    if (waiting?.size === 0) this.#waiting.delete(camera);
  }
}
