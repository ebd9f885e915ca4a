import type { Logger } from "pino";
import { z } from "zod";
import type { Cluster, StoredDocument } from "../cluster/cluster.ts";

/** The order in which the commands for each camera are sent, over all nodes. */
export interface SharedCommandQueue {
  /**
   * Takes a place at the end of the camera's queue.
   * @param place.expiresAt when the place is given up by itself, milliseconds since 1970
   * @param onTurn called once, when no command of the camera is before this one any more
   * @returns false when the queue is full
   * @throws {StoreUnavailableError}
   */
  enter(place: { camera: string; id: string; expiresAt: number }, onTurn: () => void): Promise<boolean>;
  /** Gives the place up, also one that is still being taken. Never throws: what cannot be given up expires. */
  leave(camera: string, id: string): Promise<void>;
  /** Waits for what is being given up. */
  stop(): Promise<void>;
}

export interface SharedCommandQueueOptions {
  cluster: Pick<Cluster, "documents" | "nodeId" | "nodes">;
  /** Places in one camera's queue, with that of the command in flight. */
  maxPerCamera: number;
  /** How often queues are looked at in which something waits: for nodes that died. Default 1,000. */
  lookIntervalMs?: number;
  logger: Logger;
}

const COLLECTION = "command-queues";
/** A place outlives its command by this: clocks of nodes differ, and a command in flight must not be overtaken. */
const EXPIRY_MARGIN_MS = 2_000;
/** Nodes that change one queue at the same moment try again; with so many tries each has got through. */
const MAX_ATTEMPTS = 50;
const RETRY_MS = 20;

const queueSchema = z.array(z.object({ id: z.string(), node: z.string(), until: z.number() }));
type Place = z.infer<typeof queueSchema>[number];

export function startSharedCommandQueue(options: SharedCommandQueueOptions): SharedCommandQueue {
  return new SharedTurns(options);
}

/** A queue is a document for each camera: the first in it has the turn. */
class SharedTurns implements SharedCommandQueue {
  readonly #options: SharedCommandQueueOptions;
  /** Who waits here for his turn, by camera and command. */
  readonly #waiting = new Map<string, Map<string, () => void>>();
  /** What is under way for each camera: this node's own changes come one after the other. */
  readonly #work = new Map<string, Promise<unknown>>();
  readonly #unwatch: () => void;
  readonly #timer: NodeJS.Timeout;

  constructor(options: SharedCommandQueueOptions) {
    this.#options = options;
    this.#unwatch = options.cluster.documents.watch(COLLECTION, (camera) => {
      if (camera === undefined) this.#lookAtAll();
      else this.#look(camera);
    });
    this.#timer = setInterval(() => this.#lookAtAll(), options.lookIntervalMs ?? 1_000).unref();
  }

  enter({ camera, id, expiresAt }: Parameters<SharedCommandQueue["enter"]>[0], onTurn: () => void): Promise<boolean> {
    return this.#inTurn(camera, async () => {
      const place = { id, node: this.#options.cluster.nodeId, until: expiresAt + EXPIRY_MARGIN_MS };
      const queue = await this.#change(camera, (places) =>
        places.length < this.#options.maxPerCamera ? [...places, place] : undefined,
      );
      if (queue === undefined) return false;
      const waiting = this.#waiting.get(camera) ?? new Map<string, () => void>();
      this.#waiting.set(camera, waiting.set(id, onTurn));
      this.#call(camera, queue);
      return true;
    });
  }

  async leave(camera: string, id: string): Promise<void> {
    const { logger } = this.#options;
    try {
      await this.#inTurn(camera, async () => {
        this.#forget(camera, id);
        await this.#change(camera, (places) => {
          const others = places.filter((place) => place.id !== id);
          return others.length === places.length ? undefined : others;
        });
      });
    } catch (error) {
      logger.warn({ err: error, camera, command: id }, "a command's turn is not given up: it ends by itself");
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#unwatch();
    await Promise.allSettled(this.#work.values());
  }

  /** @returns what is there now, or undefined when `change` wants nothing changed */
  async #change(camera: string, change: (places: Place[]) => Place[] | undefined): Promise<Place[] | undefined> {
    const { documents } = this.#options.cluster;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const before = await documents.get(COLLECTION, camera);
      const after = change(await this.#livePlaces(before));
      if (after === undefined) return undefined;
      const expiresAt = Math.max(...after.map(({ until }) => until));
      const ifVersion = before?.version;
      const isChanged =
        after.length > 0
          ? (await documents.put(COLLECTION, camera, after, { ifVersion: ifVersion ?? null, expiresAt })) !== undefined
          : ifVersion === undefined || (await documents.delete(COLLECTION, camera, { ifVersion }));
      if (isChanged) return after;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * RETRY_MS));
    }
    throw new Error(`the command queue of ${camera} changes all the time`);
  }

  /** Without those whose time is over, or whose node is gone. */
  async #livePlaces(document: StoredDocument | undefined): Promise<Place[]> {
    const { nodeId, nodes } = this.#options.cluster;
    const read = queueSchema.safeParse(document?.value ?? []);
    const now = Date.now();
    const places = read.success ? read.data.filter(({ until }) => until > now) : [];
    if (places.every(({ node }) => node === nodeId)) return places;
    const alive = new Set((await nodes()).map(({ id }) => id));
    return places.filter(({ node }) => alive.has(node));
  }

  #lookAtAll(): void {
    for (const camera of this.#waiting.keys()) this.#look(camera);
  }

  /** Whether it is the turn of one that waits here. While the store is away it is nobody's. */
  #look(camera: string): void {
    if (!this.#waiting.has(camera)) return;
    this.#inTurn(camera, async () => {
      if (!this.#waiting.has(camera)) return;
      const document = await this.#options.cluster.documents.get(COLLECTION, camera);
      this.#call(camera, await this.#livePlaces(document));
    }).catch(() => undefined);
  }

  #call(camera: string, [first]: readonly Place[]): void {
    const onTurn = first === undefined ? undefined : this.#waiting.get(camera)?.get(first.id);
    if (first === undefined || onTurn === undefined) return;
    this.#forget(camera, first.id);
    onTurn();
  }

  #forget(camera: string, id: string): void {
    const waiting = this.#waiting.get(camera);
    waiting?.delete(id);
    if (waiting?.size === 0) this.#waiting.delete(camera);
  }

  #inTurn<Result>(camera: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#work.get(camera) ?? Promise.resolve();
    const done = before.then(work, work);
    this.#work.set(camera, done);
    const forget = () => {
      if (this.#work.get(camera) === done) this.#work.delete(camera);
    };
    done.then(forget, forget);
    return done;
  }
}
