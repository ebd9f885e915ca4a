import type { Logger } from "pino";
import { messageOf } from "../../../../platform/errors.ts";
import type { Store } from "../../../../platform/level/store.ts";
import type {
  BrokerRows,
  EarlierRows,
  LoggedPublication,
  MqttLog,
  TakenOverRows,
} from "../../../../platform/publication-log.ts";
import type { JournalView } from "../../core/journal-view.ts";
import type { GroupCommit } from "./group-commit.ts";
import { brokerKey, incomingKey, openKey, partlyDeliveredKey, positionOfKey, retainedKey, rowsOf } from "./keys.ts";
import { publicationRow, readPublications } from "./publications.ts";

/** One row may be as large as a whole write. */
const ROWS_PER_READ = 16;

/** The key of the row that says what has been taken over. */
const MARK = "taken-over";

interface LevelEarlierRowsOptions {
  store: Pick<Store, "db">;
  writer: () => Pick<GroupCommit, "deferredRows" | "flushDeferredRows">;
  rows: Pick<BrokerRows, "load" | "set">;
  view: Pick<JournalView, "head" | "states">;
  append: MqttLog["append"];
  logger: Logger;
}

/** The rows of versions before the log: they kept a publication until it was delivered to the MQTT subscribers. */
export class LevelEarlierRows implements EarlierRows {
  readonly #options: LevelEarlierRowsOptions;

  constructor(options: LevelEarlierRowsOptions) {
    this.#options = options;
  }

  /** Only one process has the store open. */
  alone(task: () => Promise<void>): Promise<void> {
    return task();
  }

  async mark(): Promise<string | undefined> {
    for await (const [, mark] of this.#options.rows.load(MARK)) return mark;
    return undefined;
  }

  append: MqttLog["append"] = (publication) => this.#options.append(publication);

  async *undelivered(): AsyncGenerator<LoggedPublication> {
    const { db } = this.#options.store;
    const rows = db.iterator<string, Uint8Array>({ ...rowsOf("u"), valueEncoding: "view" });
    try {
      for (;;) {
        const page = await rows.nextv(ROWS_PER_READ);
        // Fewer rows than requested are not the end.
        if (page.length === 0) return;
        for (const [key, bytes] of page) {
          const pending = await db.get(partlyDeliveredKey(positionOfKey(key)));
          yield* this.#publicationsOf(key, bytes, pending);
        }
      }
    } finally {
      await rows.close();
    }
  }

  /** @param pending the undelivered positions as JSON. Undefined: nothing is delivered */
  *#publicationsOf(key: string, bytes: Uint8Array, pending: string | undefined): Generator<LoggedPublication> {
    let publications: LoggedPublication[];
    try {
      ({ publications } = readPublications(bytes));
      const positions: unknown = pending === undefined ? undefined : JSON.parse(pending);
      if (Array.isArray(positions)) publications = publications.filter(({ position }) => positions.includes(position));
    } catch (error) {
      this.#options.logger.error(
        { key, why: messageOf(error) },
        "undelivered publications of one write are unreadable",
      );
      return;
    }
    for (const publication of publications) {
      const { topic, position, retain } = publication;
      const newest = this.#options.view.states.get(topic)?.position ?? 0;
      yield { ...publication, retain: retain && newest <= position };
    }
  }

  async put({ retained = [], incomingIds = [], open = [], sessions = [], wills = [] }: TakenOverRows): Promise<void> {
    const writer = this.#options.writer();
    const { deferredRows } = writer;
    for (const publication of retained) {
      const { topic } = publication;
      deferredRows.put(retainedKey(topic), publicationRow(this.#options.view.head, topic, publication));
    }
    for (const id of incomingIds) deferredRows.put(incomingKey(id), "");
    for (const publication of open)
      deferredRows.put(
        openKey(publication.position),
        publicationRow(publication.position, publication.topic, publication),
      );
    for (const [client, row] of sessions) this.#options.rows.set(`session:${client}`, row);
    for (const [client, row] of wills) this.#options.rows.set(`will:${client}`, row);
    await writer.flushDeferredRows();
  }

  async end(mark: string): Promise<void> {
    const writer = this.#options.writer();
    const keys = await this.#options.store.db.keys({ gte: rowsOf("u").gte, lt: rowsOf("v").lt }).all();
    for (const key of keys) writer.deferredRows.del(key);
    writer.deferredRows.put(brokerKey(MARK), mark);
    await writer.flushDeferredRows();
  }
}
