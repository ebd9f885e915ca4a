import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { partsOf, type Reply } from "../../../../platform/redis/reply.ts";
import type { Given, HeldPublication, SharedGroup, ShareStore } from "../../../../platform/share-store.ts";
import type { JournalKeys } from "./keys.ts";
import { SHARES } from "./scripts.ts";

const RETRY_MS = 200;
/** Operations of one call of the script, so that no call blocks Redis for long. */
const MAX_OPERATIONS = 200;
/** Operations that wait for Redis. Beyond this, those that may fail do, because Redis is too slow. */
const MAX_WAITING = 10_000;

interface Operation {
  readonly op: string;
  readonly [field: string]: unknown;
}

interface Queued {
  readonly operation: Operation;
  readonly done: (result: Reply) => void;
  /** Undefined: the operation is repeated until Redis answers. */
  readonly failed: ((error: Error) => void) | undefined;
}

interface RedisSharesOptions {
  connection: Connection;
  keys: JournalKeys;
  run: string;
  /** The sorted set of living nodes. */
  members: string;
  epoch: () => string;
  logger: Logger;
}

/** Groups of shared subscriptions in Redis. One call of the script at a time, which takes all operations that wait. */
export class RedisShares implements ShareStore {
  readonly #options: RedisSharesOptions;
  #waiting: Queued[] = [];
  #writing: Promise<void> | undefined;
  #isClosed = false;
  /** How often groups were created, by the newest {@link poll}. */
  version = "0";

  constructor(options: RedisSharesOptions) {
    this.#options = options;
  }

  join: ShareStore["join"] = async (group, { key, qos, isPersistent, connection }) => {
    const t = this.#token(connection);
    const operation = { op: "J", g: group.key, n: group.name, m: key, q: qos, p: isPersistent ? 1 : 0, t };
    const [sent, ...values] = partsOf(await this.#ask(operation)).map(Number);
    const open: Awaited<ReturnType<ShareStore["join"]>>["open"][number][] = [];
    for (let at = 0; at + 3 < values.length; at += 4) {
      const [position = 0, given, state, messageId = 0] = values.slice(at, at + 4);
      open.push({ position, qos: given === 2 ? 2 : 1, isReleased: state === 1, messageId });
    }
    return { sent: sent ?? 0, open };
  };

  leave: ShareStore["leave"] = (group, member, connection) => {
    const t = connection === undefined ? "" : this.#token(connection);
    this.#tell({ op: "V", g: group, m: member, t });
  };

  take: ShareStore["take"] = async (group, { base, from, upTo, setAside, ...given }) => {
    const operation = { op: "T", g: group, b: base, f: from, u: upTo, w: setAside, ...this.#given(given) };
    const [verdict, ...values] = partsOf(await this.#ask(operation));
    if (verdict === "ok") return "taken";
    return verdict === "moved" ? { sent: Number(values[0]) } : goneOf(given, values);
  };

  takeWaiting: ShareStore["takeWaiting"] = async (group, given) => {
    const [verdict, ...values] = partsOf(await this.#ask({ op: "W", g: group, ...this.#given(given) }));
    return verdict === "ok" ? values.map((value) => value === 1) : goneOf(given, values);
  };

  acknowledge: ShareStore["acknowledge"] = (group, publications) =>
    this.#tell({ op: "C", g: group, a: publications.map(heldRow) });

  giveBack: ShareStore["giveBack"] = (group, publications) =>
    this.#tell({ op: "B", g: group, a: publications.map(heldRow) });

  release: ShareStore["release"] = async (group, { position, messageId, member }) => {
    await this.#ask({ op: "R", g: group, o: position, i: messageId, m: member });
  };

  disconnected: ShareStore["disconnected"] = (group, member, connection) =>
    this.#tell({ op: "D", g: group, m: member, t: this.#token(connection) });

  skipTo: ShareStore["skipTo"] = (group, position, unmoved) =>
    this.#tell({ op: "K", g: group, u: position, ...(unmoved === undefined ? {} : { x: 1, b: unmoved }) });

  drop: ShareStore["drop"] = (group, first, last) => this.#tell({ op: "Z", g: group, b: first, u: last });

  claimOnce: ShareStore["claimOnce"] = async (key) => (await this.#ask({ op: "Q", k: key })) === 1;

  poll: ShareStore["poll"] = async () => {
    const [version, ...groups] = partsOf(await this.#ask({ op: "P" }));
    const read = groups.map(readGroup);
    this.version = String(version);
    return read;
  };

  /** Forgets what is not written: Redis holds another journal. */
  reset(): void {
    this.#fail(new StoreUnavailableError("Redis holds another journal"));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.race([this.#writing, new Promise((resolve) => setTimeout(resolve, 2 * RETRY_MS).unref())]);
    this.#fail(new StoreUnavailableError("the journal is closed"));
  }

  #token(connection: number): string {
    return `${this.#options.run}:${connection}`;
  }

  #given({ publications, connections }: Given) {
    const members = [...connections.keys()];
    return {
      c: members.map((member) => [member, this.#token(connections.get(member) ?? 0)]),
      a: publications.map(({ position, qos, messageId, member }) => [
        position,
        qos,
        messageId,
        members.indexOf(member),
      ]),
    };
  }

  #ask(operation: Operation): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed || this.#waiting.length >= MAX_WAITING)
        reject(new StoreUnavailableError("groups of shared subscriptions cannot be stored now"));
      else this.#add({ operation, done: resolve, failed: reject });
    });
  }

  #tell(operation: Operation): void {
    this.#add({ operation, done: () => {}, failed: undefined });
  }

  #add(queued: Queued): void {
    this.#waiting.push(queued);
    this.#start();
  }

  #start(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
      // An operation may have come after the last look at the queue.
      if (this.#waiting.length > 0 && !this.#isClosed) this.#start();
    });
  }

  async #writeAll(): Promise<void> {
    // Operations of one turn of the event loop share a call.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_OPERATIONS);
      const error = await this.#write(batch);
      if (error === undefined) continue;
      this.#options.logger.debug({ err: error }, "groups of shared subscriptions not written, retrying");
      for (const { failed } of batch) failed?.(error);
      if (this.#isClosed) return;
      this.#waiting.unshift(...batch.filter(({ failed }) => failed === undefined));
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async #write(batch: readonly Queued[]): Promise<Error | undefined> {
    const { connection, keys, members, epoch } = this.#options;
    try {
      const operations = JSON.stringify(batch.map(({ operation }) => operation));
      const [verdict, results] = partsOf(
        await connection.run(SHARES, keys.meta, [keys.prefix, epoch(), members, operations]),
      );
      if (verdict !== "ok") return new StoreUnavailableError("Redis holds another journal");
      for (const [index, result] of partsOf(results ?? []).entries()) batch[index]?.done(result);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #fail(error: Error): void {
    for (const { failed } of this.#waiting.splice(0)) failed?.(error);
  }
}

function heldRow({ position, messageId, member }: HeldPublication): [number, number, string] {
  return [position, messageId, member];
}

function goneOf({ connections }: Given, indexes: readonly Reply[]): { gone: string[] } {
  const members = [...connections.keys()];
  return { gone: indexes.flatMap((index) => members[Number(index)] ?? []) };
}

function readGroup(reply: Reply): SharedGroup {
  const [key, name, sent, waiting, held, open, members] = partsOf(reply);
  const values = partsOf(members ?? []).map(String);
  const found: SharedGroup["members"][number][] = [];
  for (let at = 0; at + 3 < values.length; at += 4) {
    const [member = "", qos, isPersistent, isConnected] = values.slice(at, at + 4);
    const flags = { isPersistent: isPersistent === "1", isConnected: isConnected === "1" };
    found.push({ key: member, qos: qos === "2" ? 2 : qos === "1" ? 1 : 0, ...flags });
  }
  return {
    ...{ key: String(key), name: String(name), sent: Number(sent), open: Number(open), members: found },
    waiting: partsOf(waiting ?? []).map(Number),
    held: partsOf(held ?? []).map(Number),
  };
}
