import type { EarlierRows, LoggedPublication, TakenOverRows } from "../../../../platform/publication-log.ts";
import type { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";
import { encodeRetained } from "./publication-rows.ts";

/** The run that had the clients of the earlier version. */
const EARLIER_RUN = "earlier";

interface RedisEarlierRowsOptions {
  connection: Connection;
  keys: JournalKeys;
  head: () => number;
}

/** Stores what a version before the log kept in keys of its own. Undelivered publications: see `earlier-publications`. */
export class RedisEarlierRows implements EarlierRows {
  readonly #options: RedisEarlierRowsOptions;

  constructor(options: RedisEarlierRowsOptions) {
    this.#options = options;
  }

  async *undelivered(): AsyncGenerator<LoggedPublication> {}

  async put({ retained = [], incomingIds = [], rows = [] }: TakenOverRows): Promise<void> {
    const { connection, keys, head } = this.#options;
    const messages = new Map(retained.map((message) => [message.topic, encodeRetained(head(), message)]));
    const clients = rows.map(([key]) => [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)] as const);
    // Wills are published as those of a run that has ended.
    const withWill = clients.filter(([kind]) => kind === "will").map(([, client]) => client);
    const writers = new Map(clients.map(([, client]) => [client, "1 -"]));
    for (const client of withWill) writers.set(client, `1 ${EARLIER_RUN}`);
    await connection.do(async (redis) => {
      if (messages.size > 0) await redis.hset(keys.retained, messages);
      for (const { session, messageId } of incomingIds) await redis.sadd(keys.incoming(session), messageId);
      if (rows.length === 0) return;
      await redis.hset(keys.rows, new Map(rows));
      await redis.hset(keys.rowWriters, writers);
      if (withWill.length === 0) return;
      await redis.hset(keys.publicationFloors, EARLIER_RUN, "0 0");
      await redis.sadd(keys.held(EARLIER_RUN), ...withWill);
      await redis.hset(keys.taken, EARLIER_RUN, "0");
    });
  }

  async end(): Promise<void> {}
}
