import type { Connection } from "../../platform/redis/connection.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import type { PreviewLimits } from "./config.ts";
import type {
  PreviewCursor,
  PreviewListQuery,
  PreviewPage,
  PreviewRange,
  PreviewStore,
  StoredPreview,
} from "./preview-store.ts";
import { spread } from "./preview-store.ts";
import { PUT, REMOVE_EXPIRED } from "./scripts.ts";

interface RedisPreviewStoreOptions {
  redis: RedisConnections;
  limits: PreviewLimits;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** A key expires this long after its preview, so that Redis becomes empty when no node runs. */
const TTL_MARGIN_MS = 3_600_000;

/**
 * Keeps previews in Redis, readable from every node. Keys below the prefix, per camera: `list:` (captures by time),
 * `meta:` (metadata of each), `jpeg:` (the bytes of one), `newest:` (the newest with its bytes, never expires). For all
 * cameras: `all` (by time), `arrived` (by arrival), `bytes`, `camera-bytes` and `cameras` (by their last preview).
 */
export class RedisPreviewStore implements PreviewStore {
  readonly #connection: Connection;
  readonly #base: string;
  readonly #limits: PreviewLimits;
  readonly #now: () => number;
  readonly #pending = new Set<Promise<unknown>>();

  constructor({ redis, limits, now }: RedisPreviewStoreOptions) {
    this.#connection = redis.bulk;
    this.#base = `${redis.prefix}preview:`;
    this.#limits = limits;
    this.#now = now;
  }

  put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean> {
    const { keepMs, ...limits } = this.#limits;
    const { capture, takenAt, savedAt, etag, sizeBytes } = preview;
    const numbers = [limits.maxPreviewsPerCamera, limits.maxBytesPerCamera, limits.maxPreviews, limits.maxBytes];
    const bounds = [...numbers, limits.maxCameras].map((limit) => (Number.isFinite(limit) ? limit : -1));
    return this.#run(async () => {
      const args = [this.#now() - keepMs, keepMs + TTL_MARGIN_MS, camera, capture, takenAt, savedAt, sizeBytes, etag];
      const bytes = Buffer.from(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
      return (await this.#connection.run(PUT, this.#base, [...args, bytes, ...bounds])) === 1;
    });
  }

  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>> {
    return this.#run(async () => {
      const found = new Map<string, StoredPreview>();
      await Promise.all(
        cameras.map(async (camera) => {
          const [name, taken, meta] = await this.#connection.do((redis) =>
            redis.hmget(this.#key("newest", camera), "capture", "taken", "meta"),
          );
          const preview = toPreview(name, taken, meta);
          if (preview !== undefined) found.set(camera, preview);
        }),
      );
      return found;
    });
  }

  list(camera: string, { after, limit, from, to }: PreviewListQuery): Promise<PreviewPage> {
    const list = this.#key("list", camera);
    const [first, last] = [from ?? "-inf", to ?? "+inf"];
    return this.#run(async () => {
      await this.#removeExpired();
      const [next, total] = await Promise.all([
        after === undefined
          ? this.#connection.do((redis) => redis.zcount(list, `(${last}`, "+inf"))
          : this.#connection
              .do((redis) => redis.zrevrank(list, after.capture))
              .then((rank) => (rank === null ? null : rank + 1)),
        this.#connection.do((redis) => redis.zcount(list, first, last)),
      ]);
      // The last preview of the previous page may have been removed. Its time still identifies the position.
      const found = await this.#connection.do((redis) =>
        next === null && after !== undefined
          ? redis.zrevrangebyscore(list, `(${after.takenAt}`, first, "WITHSCORES", "LIMIT", 0, limit)
          : redis.zrevrange(list, next ?? 0, (next ?? 0) + limit - 1, "WITHSCORES"),
      );
      const inRange = pairs(found).filter(({ takenAt }) => from === undefined || takenAt >= from);
      return { previews: await this.#described(camera, inRange), total };
    });
  }

  overview(camera: string, frames: number, { from, to }: PreviewRange = {}): Promise<PreviewPage> {
    return this.#run(async () => {
      await this.#removeExpired();
      const all = pairs(
        await this.#connection.do((redis) =>
          redis.zrevrangebyscore(this.#key("list", camera), to ?? "+inf", from ?? "-inf", "WITHSCORES"),
        ),
      );
      return { previews: await this.#described(camera, spread(all, frames)), total: all.length };
    });
  }

  read(camera: string, capture: string | undefined) {
    return this.#run(async () => {
      const newest = await this.#connection.do((redis) => redis.hgetallBuffer(this.#key("newest", camera)));
      const preview = toPreview(text(newest.capture), text(newest.taken), text(newest.meta));
      if (capture === undefined || preview?.capture === capture)
        return preview === undefined || newest.jpeg === undefined ? undefined : { preview, jpeg: newest.jpeg };
      const [jpeg, meta, takenAt] = await Promise.all([
        this.#connection.do((redis) => redis.getBuffer(`${this.#key("jpeg", camera)}:${capture}`)),
        this.#connection.do((redis) => redis.hget(this.#key("meta", camera), capture)),
        this.#connection.do((redis) => redis.zscore(this.#key("list", camera), capture)),
      ]);
      const found = toPreview(capture, takenAt, meta);
      return found === undefined || jpeg === null ? undefined : { preview: found, jpeg };
    });
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#pending);
  }

  /** Called before each list is read. */
  async #removeExpired(): Promise<void> {
    const since = this.#now() - this.#limits.keepMs;
    while (Number(await this.#connection.run(REMOVE_EXPIRED, this.#base, [since])) > 0);
  }

  async #described(camera: string, found: readonly PreviewCursor[]): Promise<StoredPreview[]> {
    if (found.length === 0) return [];
    const metas = await this.#connection.do((redis) =>
      redis.hmget(this.#key("meta", camera), ...found.map(({ capture }) => capture)),
    );
    return found.flatMap(({ capture, takenAt }, index) => toPreview(capture, String(takenAt), metas[index]) ?? []);
  }

  #key(kind: "newest" | "list" | "meta" | "jpeg", camera: string): string {
    return `${this.#base}${kind}:${camera}`;
  }

  /** @throws {StoreUnavailableError} */
  #run<T>(work: () => Promise<T>): Promise<T> {
    const done = work();
    const settled = done.catch(() => undefined);
    this.#pending.add(settled);
    void settled.then(() => this.#pending.delete(settled));
    return done;
  }
}

/** Parses a reply `WITHSCORES`: member, score, member, score, … */
function pairs(flat: readonly string[]): PreviewCursor[] {
  const found: PreviewCursor[] = [];
  for (let index = 0; index + 1 < flat.length; index += 2)
    found.push({ capture: flat[index] ?? "", takenAt: Number(flat[index + 1]) });
  return found;
}

type Reply = string | null | undefined;

/** @param meta `savedAt bytes "etag"`, as {@link PUT} writes it */
function toPreview(capture: Reply, takenAt: Reply, meta: Reply): StoredPreview | undefined {
  const [savedAt, sizeBytes, etag] = meta?.split(" ") ?? [];
  if (capture == null || takenAt == null || savedAt === undefined || etag === undefined) return undefined;
  return { capture, takenAt: Number(takenAt), savedAt: Number(savedAt), sizeBytes: Number(sizeBytes), etag };
}

const text = (bytes: Buffer | undefined) => bytes?.toString("utf8");
