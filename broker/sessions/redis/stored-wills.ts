import type { Logger } from "pino";
import { z } from "zod";
import type { Wills } from "../../access/wills.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { type Session, type StoredPacket, storedWillSchema } from "../storage.ts";
import { KEY } from "./keys.ts";
import type { Nodes } from "./nodes.ts";
import type { RedisWriter } from "./writer.ts";

const willSchema = storedWillSchema.extend({ payload: z.base64() });

export type Will = Pick<StoredPacket, "topic" | "payload" | "qos" | "retain">;

interface StoredWillsOptions {
  writer: RedisWriter;
  reader: RetryingConnection;
  brokerId: string;
  nodes: Nodes;
  wills: Wills;
  logger: Logger;
}

/**
 * The wills of all connected clients; if a node dies, another node publishes the wills of its clients. Each session has
 * at most one will: a client that reconnects to any node cancels its old will. (In aedes-persistence-redis, a node
 * cancels only its own wills.)
 */
export class StoredWills {
  readonly #options: StoredWillsOptions;

  constructor(options: StoredWillsOptions) {
    this.#options = options;
  }

  /** Never rejects. */
  async put(client: Session, will: Will): Promise<void> {
    if (client.closed === true) return;
    const { topic, payload, qos, retain } = will;
    const { writer, brokerId, wills } = this.#options;
    const clientId = client.id;
    wills.stored(clientId);
    const encoded = Buffer.from(payload).toString("base64");
    const bearer = wills.bearerOf(will) ?? { identity: "" };
    const value = JSON.stringify({ clientId, ...bearer, brokerId, topic, payload: encoded, qos, retain });
    await this.#logFailure(writer.run(() => ({ keys: [KEY.wills], args: ["W", clientId, value] }), value.length));
  }

  /**
   * Without `brokerId`, a client has connected: removes its old will, whichever node stored it. With the id of this
   * node, a connection has closed: removes only the will of that connection. Never rejects.
   */
  async remove({ id, brokerId }: { id: string; brokerId?: string | undefined }): Promise<void> {
    const { wills } = this.#options;
    if (brokerId === this.#options.brokerId && wills.released(id)) return;
    if (wills.consumeKept(id)) return;
    await this.#logFailure(this.#options.writer.run(() => ({ keys: [KEY.wills], args: ["V", id, brokerId ?? ""] })));
  }

  /**
   * The wills of clients whose node has died. This node claims a will before publishing it, so no other node publishes
   * the will. If this node dies before it removes the will, another node claims the will.
   */
  async *orphaned(): AsyncGenerator<object> {
    const { reader, nodes, wills, logger, brokerId } = this.#options;
    // A claimed will does not get the id of this node: Aedes publishes no wills with the id of a living node.
    const claim = `${brokerId}/claimed`;
    wills.expirePublishing();
    try {
      let cursor = "0";
      do {
        const from = cursor;
        const [next, fields] = await reader.retry((connection) => connection.hscan(KEY.wills, from, "COUNT", 100));
        cursor = next;
        for (let at = 0; at + 1 < fields.length; at += 2) {
          const stored = fields[at + 1] ?? "";
          const will = willSchema.parse(JSON.parse(stored));
          const owner = will.brokerId.replace(/\/claimed$/, "");
          if (will.brokerId !== claim && (owner === brokerId || !nodes.isDead(owner))) continue;
          if (will.brokerId === claim && wills.isPublishing(will.clientId)) continue;
          const { clientId, brokerId: _, topic, payload, qos, retain, ...bearer } = will;
          if (wills.isVoid({ key: clientId, bearer })) {
            await this.#options.writer.run(() => ({ keys: [KEY.wills], args: ["V", clientId, will.brokerId] }));
            continue;
          }
          if (will.brokerId !== claim && !(await this.#claim(will.clientId, stored, { ...will, brokerId: claim })))
            continue;
          const message = { clientId, topic, qos, retain, payload: Buffer.from(payload, "base64") };
          const claimedWill = { ...message, brokerId: claim, cmd: "publish" };
          wills.assign(claimedWill, { key: clientId, bearer });
          wills.beginPublishing(clientId);
          yield claimedWill;
        }
      } while (cursor !== "0");
    } catch (error) {
      logger.error({ err: error }, "stored wills unreadable");
    }
  }

  async #logFailure(task: Promise<unknown>): Promise<void> {
    try {
      await task;
    } catch (error) {
      this.#options.logger.error({ err: error }, "will could not be stored or removed");
    }
  }

  async #claim(clientId: string, stored: string, claimed: object): Promise<boolean> {
    const args = ["X", clientId, stored, JSON.stringify(claimed)];
    const [answer] = await this.#options.writer.run(() => ({ keys: [KEY.wills], args }));
    return answer === "yes";
  }
}
