import type { BrokerRows, EarlierRows, IncomingId, MqttLog } from "../../../../platform/publication-log.ts";
import type { StoredPublicationLog } from "../../core/publication-log.ts";
import type { Journal } from "../../journal.ts";
import type { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";

interface RedisMqttLogOptions {
  publications: StoredPublicationLog;
  rows: BrokerRows;
  earlier: EarlierRows;
  append: Journal["append"];
  connection: Connection;
  keys: JournalKeys;
}

/** The log of publications, the rows and the message ids that the journal in Redis stores for the broker. */
export class RedisMqttLog implements MqttLog {
  readonly #options: RedisMqttLogOptions;
  readonly publications: StoredPublicationLog;
  readonly rows: BrokerRows;
  readonly earlier: EarlierRows;

  constructor(options: RedisMqttLogOptions) {
    this.#options = options;
    this.publications = options.publications;
    this.rows = options.rows;
    this.earlier = options.earlier;
  }

  /** The entry has no channel and no body: followers of the journal and the archive pass over it. */
  append: MqttLog["append"] = async ({ topic, incomingId, ...publish }) => {
    const origin = { sender: "mqtt", id: undefined, session: undefined, seq: undefined };
    const entry = { topic, channels: [], camera: undefined, body: "", state: undefined, origin };
    // Without an id, no message is a duplicate.
    return (await this.#options.append({ ...entry, publish, incomingId })).position ?? this.publications.head;
  };

  /** None: a session's ids are read when its client connects, because the client may have been at another node. */
  async *incomingIds(): AsyncGenerator<IncomingId> {}

  async removeIncomingIds(ids: readonly IncomingId[]): Promise<void> {
    const { connection, keys } = this.#options;
    const bySession = new Map<string, number[]>();
    for (const { session, messageId } of ids) {
      const known = bySession.get(session);
      if (known === undefined) bySession.set(session, [messageId]);
      else known.push(messageId);
    }
    await connection.do((redis) =>
      Promise.all([...bySession].map(([session, numbers]) => redis.srem(keys.incoming(session), ...numbers))),
    );
  }

  onReset: MqttLog["onReset"] = (listener) => this.publications.onReset(listener);
}
