import type { Logger } from "pino";
import { z } from "zod";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import type { Cluster, Json, StoredDocument } from "../cluster/cluster.ts";

interface SharedCommandQueueOptions {
  cluster: Pick<Cluster, "documents" | "nodeId" | "nodes" | "onNodes">;
  /** Includes the command in flight. */
  maxPerCamera: number;
  /** The interval of checks of this node's waiting commands. Default 1,000. */
  checkIntervalMs?: number;
  logger: Logger;
}

const commandSchema = z.object({
  name: z.string(),
  /** The payload for the camera. */
  text: z.string(),
  /** The identity that issued the command. */
  by: z.string(),
  /** The sender reads the outcome on the camera's replies topic. */
  isMqtt: z.boolean(),
});
export type QueuedCommand = z.infer<typeof commandSchema>;

/** A command of a dead node. This node sends it again: a camera executes a repeated command once. */
export interface TakenCommand extends QueuedCommand {
  camera: string;
  id: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

/** The largest queue that is stored, in characters of commands: a document may be twice as large. */
const MAX_QUEUE_LENGTH = 128 * 1024;
const COLLECTION = "command-queues";
/** Commands that were taken over. The collection shows that such a command is not lost. */
const TAKEN = "taken-commands";
const TAKEN_TTL_MS = 600_000;
/**
 * How long an expired command stays in the queue. A node whose clock is ahead must not send the next command while this
 * command is still in flight.
 */
const EXPIRY_MARGIN_MS = 2_000;
/** Nodes that change a queue at the same time retry. A node should never need this many attempts. */
const MAX_ATTEMPTS = 50;
const MAX_RETRY_MS = 20;

/** `until` is in milliseconds since 1970. A command that is too large to be stored ends with its node. */
const queueSchema = z.array(
  z.object({ id: z.string(), node: z.string(), until: z.number(), command: commandSchema.optional() }),
);
type QueueEntry = z.infer<typeof queueSchema>[number];

interface Waiting {
  entry: QueueEntry;
  onFirst: () => void;
}

/**
 * One command queue per camera, shared by all nodes, in a document. Its first command is the next to send.
 *
 * A node that dies loses its places to another node, together with the commands. So a node that was only suspended may
 * find its commands in the hands of another node: it sends them no more, and learns their outcome from the camera's
 * replies like every node.
 */
export class SharedCommandQueue {
  readonly #options: SharedCommandQueueOptions;
  /** This node's commands that were not first yet, by camera and command id. */
  readonly #waiting = new Map<string, Map<string, Waiting>>();
  /** The queues of all nodes, as they were last read. Without empty ones. */
  readonly #queues = new Map<string, readonly QueueEntry[]>();
  /** Runs this node's changes of one camera's queue one after the other. */
  readonly #tasks = new KeyedQueue();
  readonly #unwatch: (() => void)[];
  readonly #timer: NodeJS.Timeout;
  readonly #maxCommandLength: number;
  #onTaken: ((command: TakenCommand) => () => void) | undefined;

  constructor(options: SharedCommandQueueOptions) {
    this.#options = options;
    this.#maxCommandLength = MAX_QUEUE_LENGTH / options.maxPerCamera;
    const { documents, onNodes } = options.cluster;
    this.#unwatch = [
      documents.watch(COLLECTION, (camera) => {
        if (camera === undefined) void this.#readAll();
        else this.#check(camera);
      }),
      onNodes((living) => this.#checkOwners(living)),
    ];
    // Missed notices and expired commands change the first command of a queue.
    this.#timer = setInterval(() => {
      for (const camera of this.#waiting.keys()) this.#check(camera);
    }, options.checkIntervalMs ?? 1_000).unref();
  }

  /**
   * Takes over the commands of dead nodes from now on.
   * @param onTaken returns what is called when the command is the first in the queue
   */
  takeOver(onTaken: (command: TakenCommand) => () => void): void {
    this.#onTaken = onTaken;
    void this.#readAll();
  }

  /**
   * Adds a command to the end of the camera's queue.
   * @param expiresAt when the command is removed automatically, milliseconds since 1970
   * @param onFirst called once, when the command is the first in the queue
   * @returns false when the queue is full
   * @throws {StoreUnavailableError}
   */
  enter(camera: string, id: string, command: QueuedCommand, expiresAt: number, onFirst: () => void): Promise<boolean> {
    return this.#tasks.run(camera, async () => {
      const isSmall = command.text.length + command.name.length + command.by.length <= this.#maxCommandLength;
      const place = { id, node: this.#options.cluster.nodeId, until: expiresAt + EXPIRY_MARGIN_MS };
      const entry = isSmall ? { ...place, command } : place;
      let isEntered = false;
      await this.#change(camera, (entries) => {
        isEntered = entries.length < this.#options.maxPerCamera;
        if (!isEntered) return undefined;
        this.#wait(camera, { entry, onFirst });
        return [...entries, entry];
      }).catch((error: unknown) => {
        this.#deleteWaiting(camera, id);
        throw error;
      });
      return isEntered;
    });
  }

  /** Removes a command, even one that {@link enter} is still adding. Never throws: a command may expire instead. */
  async leave(camera: string, id: string): Promise<void> {
    const { cluster, logger } = this.#options;
    try {
      await this.#tasks.run(camera, async () => {
        this.#deleteWaiting(camera, id);
        await this.#change(camera, (entries) => {
          // A command that another node has taken over is removed by that node.
          const others = entries.filter((entry) => entry.id !== id || entry.node !== cluster.nodeId);
          return others.length === entries.length ? undefined : others;
        });
      });
    } catch (error) {
      logger.warn({ err: error, camera, command: id }, "command not removed from the shared queue: it expires there");
    }
  }

  /** Whether a node has the command, or has taken it over from a dead node lately. @throws {StoreUnavailableError} */
  async has(camera: string, id: string): Promise<boolean> {
    const { documents } = this.#options.cluster;
    const queue = entriesOf(await documents.get(COLLECTION, camera));
    return queue.some((entry) => entry.id === id) || (await documents.get(TAKEN, id)) !== undefined;
  }

  /** Waits for running changes. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    for (const end of this.#unwatch) end();
    await this.#tasks.idle();
  }

  /** Changes the queue, unless `change` returns undefined, and takes over the commands of dead nodes. */
  async #change(camera: string, change: (entries: QueueEntry[]) => QueueEntry[] | undefined): Promise<void> {
    const { documents } = this.#options.cluster;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const before = await documents.get(COLLECTION, camera);
      const { entries, dead, taken } = await this.#withoutDead(before);
      const after = change(entries) ?? (dead > 0 ? entries : undefined);
      if (after === undefined) return this.#changed(camera, entries);
      const markUntil = Date.now() + TAKEN_TTL_MS;
      for (const { id } of taken) await documents.put(TAKEN, id, true, { expiresAt: markUntil });
      const expiresAt = Math.max(...after.map(({ until }) => until));
      const ifVersion = before?.version;
      const isChanged =
        after.length > 0
          ? (await documents.put(COLLECTION, camera, documentOf(after), {
              ifVersion: ifVersion ?? null,
              expiresAt,
            })) !== undefined
          : ifVersion === undefined || (await documents.delete(COLLECTION, camera, { ifVersion }));
      if (isChanged) {
        for (const entry of taken) this.#take(camera, entry);
        return this.#changed(camera, after);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.random() * MAX_RETRY_MS));
    }
    throw new Error(`the command queue of ${camera} was changed by other nodes at each of ${MAX_ATTEMPTS} attempts`);
  }

  /** The commands that have not expired. Those of dead nodes are now of this node. */
  async #withoutDead(document: StoredDocument | undefined) {
    const { nodeId: node, nodes } = this.#options.cluster;
    const now = Date.now();
    const stored = entriesOf(document).filter(({ until }) => until > now);
    if (stored.every((entry) => entry.node === node)) return { entries: stored, dead: 0, taken: [] };
    const alive = new Set((await nodes()).map(({ id }) => id)).add(node);
    const isDead = (entry: QueueEntry) => !alive.has(entry.node);
    const canTake = this.#onTaken !== undefined;
    const entries = stored.flatMap((entry) => {
      if (!isDead(entry)) return [entry];
      return canTake && entry.command !== undefined ? [{ ...entry, node }] : [];
    });
    const ids = new Set(stored.filter(isDead).map(({ id }) => id));
    return { entries, dead: ids.size, taken: entries.filter(({ id }) => ids.has(id)) };
  }

  #take(camera: string, entry: QueueEntry): void {
    const { id, until, command } = entry;
    if (command === undefined || this.#onTaken === undefined) return;
    this.#options.logger.info({ camera, command: id }, "command of a dead node taken over");
    const onFirst = this.#onTaken({ ...command, camera, id, expiresAt: until - EXPIRY_MARGIN_MS });
    this.#wait(camera, { entry, onFirst });
  }

  /** Notes the queue, and calls back if a command of this node is now the first. */
  #changed(camera: string, queue: readonly QueueEntry[]): void {
    if (queue.length > 0) this.#queues.set(camera, queue);
    else this.#queues.delete(camera);
    const [first] = queue;
    if (first === undefined || first.node !== this.#options.cluster.nodeId) return;
    const waiting = this.#waiting.get(camera)?.get(first.id);
    if (waiting === undefined) return;
    this.#deleteWaiting(camera, first.id);
    waiting.onFirst();
  }

  async #readAll(): Promise<void> {
    const queues = await this.#options.cluster.documents.list(COLLECTION).catch(() => []);
    for (const { key } of queues) this.#check(key);
    for (const camera of this.#waiting.keys()) this.#check(camera);
  }

  /** Takes over the commands of dead nodes. */
  #checkOwners(living: ReadonlySet<string>): void {
    const now = Date.now();
    for (const [camera, queue] of this.#queues) {
      const live = queue.filter(({ until }) => until > now);
      if (live.length === 0) this.#queues.delete(camera);
      if (live.some(({ node }) => !living.has(node))) this.#check(camera);
    }
  }

  /**
   * Reads the queue, and asks again for the places of waiting commands that the store has lost. While the store is
   * unavailable, no command is the first.
   */
  #check(camera: string): void {
    const check = async () => {
      let missing: QueueEntry[] = [];
      await this.#change(camera, (entries) => {
        missing = this.#missing(camera, entries);
        return undefined;
      });
      const lost: QueueEntry[] = [];
      for (const entry of missing) {
        // Another node has taken over the command, and may have finished it.
        if ((await this.#options.cluster.documents.get(TAKEN, entry.id)) === undefined) lost.push(entry);
        else this.#deleteWaiting(camera, entry.id);
      }
      if (lost.length > 0)
        await this.#change(camera, (entries) => {
          const stillMissing = new Set(this.#missing(camera, entries));
          return [...entries, ...lost.filter((entry) => stillMissing.has(entry))];
        });
    };
    this.#tasks.run(camera, check).catch(() => {});
  }

  /** The waiting commands of this node that the queue does not have. */
  #missing(camera: string, entries: readonly QueueEntry[]): QueueEntry[] {
    const now = Date.now();
    return [...(this.#waiting.get(camera)?.values() ?? [])]
      .map(({ entry }) => entry)
      .filter(({ id, until }) => until > now && entries.every((entry) => entry.id !== id));
  }

  #wait(camera: string, waiting: Waiting): void {
    const all = this.#waiting.get(camera) ?? new Map<string, Waiting>();
    this.#waiting.set(camera, all.set(waiting.entry.id, waiting));
  }

  #deleteWaiting(camera: string, id: string): void {
    const waiting = this.#waiting.get(camera);
    waiting?.delete(id);
    if (waiting?.size === 0) this.#waiting.delete(camera);
  }
}

function documentOf(entries: readonly QueueEntry[]): Json {
  return entries.map(({ command, ...place }) => (command === undefined ? place : { ...place, command }));
}

function entriesOf(document: StoredDocument | undefined): QueueEntry[] {
  return queueSchema.safeParse(document?.value ?? []).data ?? [];
}
