import type { Logger } from "pino";
import { z } from "zod";
import { messageOf } from "../../../platform/errors.ts";
import type { SharedGroup, ShareStore } from "../../../platform/share-store.ts";
import { ClaimLedger } from "./claim-ledger.ts";
import type { ShareLedger, ShareLedgers, ShareLedgersListener } from "./share-ledger.ts";
import type { ShareName } from "./share-name.ts";

/**
 * How often a node asks what other nodes have done with groups: what they gave back waits this long, if no other member
 * of their own can take it. Nodes without connected members ask less often, for the bounds of groups and for statistics.
 */
const BUSY_POLL_MS = 250;
const IDLE_POLL_MS = 1_000;

const nameSchema = z.object({ identity: z.string(), share: z.string(), filter: z.string() });

interface ClaimLedgersOptions {
  store: ShareStore;
  isFirstNode(): boolean;
  logger: Logger;
}

/** The ledgers of several nodes. */
export class ClaimLedgers implements ShareLedgers {
  readonly #options: ClaimLedgersOptions;
  readonly #ledgers = new Map<string, ClaimLedger>();
  #listener: ShareLedgersListener | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  readonly claimOnce: (key: string) => Promise<boolean>;

  constructor(options: ClaimLedgersOptions) {
    this.#options = options;
    this.claimOnce = (key) => options.store.claimOnce(key);
  }

  follow(listener: ShareLedgersListener): void {
    this.#listener = listener;
  }

  async load(): Promise<ShareLedger[]> {
    clearTimeout(this.#timer);
    this.#ledgers.clear();
    for (const group of await this.#options.store.poll()) this.#found(group);
    this.#schedule();
    return [...this.#ledgers.values()];
  }

  create(name: ShareName, sent: number): ShareLedger {
    const ledger: ClaimLedger = new ClaimLedger(name, sent, {
      ...this.#options,
      onGone: (members) => this.#listener?.onGone(members),
    });
    this.#ledgers.set(ledger.key, ledger);
    return ledger;
  }

  /** The store has removed the group with its last member. */
  remove(ledger: ShareLedger): void {
    if (ledger instanceof ClaimLedger && this.#ledgers.get(ledger.key) === ledger) this.#ledgers.delete(ledger.key);
  }

  saveAll(): void {
    for (const ledger of this.#ledgers.values()) ledger.flush();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#isStopped) return;
    const isBusy = [...this.#ledgers.values()].some(({ isBusy: busy }) => busy);
    this.#timer = setTimeout(() => void this.#poll(), isBusy ? BUSY_POLL_MS : IDLE_POLL_MS).unref();
  }

  async #poll(): Promise<void> {
    this.saveAll();
    const before = new Set(this.#ledgers.values());
    try {
      this.#update(await this.#options.store.poll(), before);
    } catch (error) {
      this.#options.logger.debug({ why: messageOf(error) }, "groups of shared subscriptions unknown, retrying");
    }
    this.#schedule();
  }

  /** @param before the groups that this node knew when the store was asked */
  #update(groups: readonly SharedGroup[], before: ReadonlySet<ClaimLedger>): void {
    const ended = new Set(before);
    for (const group of groups) {
      const known = this.#ledgers.get(group.key);
      if (known === undefined) {
        const ledger = this.#found(group);
        if (ledger !== undefined) this.#listener?.onFound(ledger);
        continue;
      }
      ended.delete(known);
      known.update(group);
      this.#listener?.onMoved(known);
    }
    for (const ledger of ended) {
      if (ledger.isBusy) continue;
      this.remove(ledger);
      this.#listener?.onEnded(ledger);
    }
  }

  #found(group: SharedGroup): ShareLedger | undefined {
    const name = nameOf(group);
    if (name === undefined) {
      this.#options.logger.error({ group: group.key }, "group of shared subscriptions has an unreadable name");
      return undefined;
    }
    const ledger = this.create(name, group.sent);
    if (ledger instanceof ClaimLedger) ledger.update(group);
    return ledger;
  }
}

function nameOf({ name }: SharedGroup): ShareName | undefined {
  try {
    return nameSchema.parse(JSON.parse(name));
  } catch {
    return undefined;
  }
}
