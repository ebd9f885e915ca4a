import type { ShareLedger } from "./share-ledger.ts";

/** A node gives its members what is meant for members of other nodes if nobody has taken it after this time. */
const PATIENCE_MS = 10;

/** Whose turn it is, if members of a group are connected to several nodes. */
export class NodeTurns {
  readonly #ledger: Pick<ShareLedger, "prefers">;
  readonly #onOverdue: () => void;
  /** Up to this position, it does not matter for which node a publication is meant. */
  #overdue = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param onOverdue what waited for other nodes may be taken now */
  constructor(ledger: Pick<ShareLedger, "prefers">, onOverdue: () => void) {
    this.#ledger = ledger;
    this.#onOverdue = onOverdue;
  }

  /** Whether this node may take the publication. @param edge the newest position of the log */
  isOwn(position: number, edge: number): boolean {
    if (position <= this.#overdue || this.#ledger.prefers(position)) return true;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#overdue = edge;
      this.#onOverdue();
    }, PATIENCE_MS).unref();
    return false;
  }

  /** Resolves when this node may take the publication with this number, which is not in the log. */
  async own(number: number): Promise<void> {
    if (!this.#ledger.prefers(number)) await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS).unref());
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
