import type { Logger } from "pino";
import type { MqttLog } from "../../../platform/publication-log.ts";
import { sessionName } from "../../access/session-names.ts";
import { RowSaves } from "../row-saves.ts";
import { RowLedger } from "./row-ledger.ts";
import type { ShareLedger, ShareLedgers } from "./share-ledger.ts";
import { type ShareName, shareKey } from "./share-name.ts";
import { readShareRecord, SHARE_ROW, type ShareRecord } from "./share-record.ts";

interface RowLedgersOptions {
  log: MqttLog;
  /** Everything up to this position is in the log. */
  edge(): number;
  logger: Logger;
}

/** The ledgers of a single node: one row for each group, in the journal's store. */
export class RowLedgers implements ShareLedgers {
  readonly #options: RowLedgersOptions;
  readonly #saves: RowSaves<RowLedger>;
  #stopSaving = () => {};

  constructor(options: RowLedgersOptions) {
    this.#options = options;
    const { rows } = options.log;
    this.#saves = new RowSaves((ledger) => rows.set(rowKey(ledger), JSON.stringify(ledger.record())));
  }

  async load(): Promise<ShareLedger[]> {
    const { log, logger } = this.#options;
    const ledgers: ShareLedger[] = [];
    for await (const [key, row] of log.rows.load(SHARE_ROW)) {
      const record = readShareRecord(row);
      const name = sessionName(key.slice(SHARE_ROW.length));
      if (record === undefined) {
        logger.error(name, "group of shared subscriptions lost: its record is unreadable");
        log.rows.set(key, undefined);
      } else {
        if (!log.publications.isKnown(record.epoch))
          logger.warn(name, "group of shared subscriptions may have missed messages: the store has lost some");
        ledgers.push(this.#open(record));
      }
    }
    this.#stopSaving();
    this.#stopSaving = log.rows.beforeWrite(() => this.#saves.saveSome());
    return ledgers;
  }

  create({ identity, share, filter }: ShareName, sent: number): ShareLedger {
    const { epoch } = this.#options.log.publications;
    return this.#open({ v: 1, identity, share, filter, epoch, sent, waiting: [], open: [], members: [] });
  }

  remove(ledger: ShareLedger): void {
    if (ledger instanceof RowLedger) this.#saves.forget(ledger);
    this.#options.log.rows.set(rowKey(ledger), undefined);
  }

  /** Puts all changes into the next write. */
  saveAll(): void {
    this.#saves.saveAll();
  }

  stop(): void {
    this.#stopSaving();
  }

  #open(record: ShareRecord): RowLedger {
    const { log, edge } = this.#options;
    const ledger: RowLedger = new RowLedger(record, edge(), {
      epoch: () => log.publications.epoch,
      onChange: () => this.#saves.note(ledger),
      store: async () => {
        this.#saves.note(ledger);
        this.#saves.save(ledger);
        await log.rows.flush();
      },
    });
    return ledger;
  }
}

function rowKey({ name }: ShareLedger): string {
  return SHARE_ROW + shareKey(name);
}
