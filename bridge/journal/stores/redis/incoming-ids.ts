import type { IncomingId } from "../../../../platform/publication-log.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { INCOMING_ID_SECONDS } from "./batch.ts";
import type { JournalKeys } from "./keys.ts";

/** The message ids of QoS 2 publications whose PUBREL has not arrived. The append script adds them. */
export class RedisIncomingIds {
  readonly #connection: Connection;
  readonly #keys: JournalKeys;

  constructor(connection: Connection, keys: JournalKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** @throws {StoreUnavailableError} */
  async remove(ids: readonly IncomingId[]): Promise<void> {
    const bySession = new Map<string, number[]>();
    for (const { session, messageId } of ids) {
      const known = bySession.get(session);
      if (known === undefined) bySession.set(session, [messageId]);
      else known.push(messageId);
    }
    await this.#connection.do((redis) =>
      Promise.all([...bySession].map(([session, numbers]) => redis.srem(this.#keys.incoming(session), ...numbers))),
    );
    await this.#connection.replicated();
  }

  /** These are all ids of the session. @throws {StoreUnavailableError} */
  async replace(session: string, ids: readonly number[]): Promise<void> {
    const key = this.#keys.incoming(session);
    await this.#connection.do((redis) => {
      const transaction = redis.multi().del(key);
      if (ids.length > 0) transaction.sadd(key, ...ids).expire(key, INCOMING_ID_SECONDS);
      return transaction.exec();
    });
    await this.#connection.replicated();
  }
}
