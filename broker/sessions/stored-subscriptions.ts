import { TopicIndex } from "../aedes/topic-index.ts";

interface Entry {
  readonly clientId: string;
  readonly filter: string;
  readonly qos: 1 | 2;
}

/**
 * The subscriptions of the persistent sessions, indexed by topic. The index of aedes-persistence-level queues nothing
 * after subscriptions to `a/#` at QoS 1 and `a/b` at QoS 0, and removes `a/b` together with `a/#`. After a restart,
 * that index queues messages even for QoS 0 subscriptions.
 */
export class StoredSubscriptions {
  readonly #byClient = new Map<string, Map<string, { qos: 0 | 1 | 2; entry: Entry | undefined }>>();
  readonly #index = new TopicIndex<Entry>();

  clientIds(): IterableIterator<string> {
    return this.#byClient.keys();
  }

  filtersOf(clientId: string): ReadonlyMap<string, { qos: 0 | 1 | 2 }> {
    return this.#byClient.get(clientId) ?? NONE;
  }

  set(clientId: string, filter: string, qos: 0 | 1 | 2): void {
    this.delete(clientId, filter);
    let filters = this.#byClient.get(clientId);
    if (filters === undefined) {
      filters = new Map();
      this.#byClient.set(clientId, filters);
    }
    const entry = qos === 0 ? undefined : { clientId, filter, qos };
    if (entry !== undefined) this.#index.add(filter, entry);
    filters.set(filter, { qos, entry });
  }

  delete(clientId: string, filter: string): void {
    const filters = this.#byClient.get(clientId);
    const known = filters?.get(filter);
    if (filters === undefined || known === undefined) return;
    if (known.entry !== undefined) this.#index.remove(filter, known.entry);
    filters.delete(filter);
    if (filters.size === 0) this.#byClient.delete(clientId);
  }

  /** The sessions that queue a message on the topic, each with the highest QoS of its matching filters. */
  match(topic: string): { clientId: string; topic: string; qos: 1 | 2 }[] {
    if (this.#byClient.size === 0) return [];
    const entries = this.#index.match(topic);
    const byClient = new Map<string, { clientId: string; topic: string; qos: 1 | 2 }>();
    for (const { clientId, filter, qos } of entries) {
      const known = byClient.get(clientId);
      if (known === undefined) byClient.set(clientId, { clientId, topic: filter, qos });
      else if (qos > known.qos) known.qos = qos;
    }
    return [...byClient.values()];
  }
}

const NONE: ReadonlyMap<string, { qos: 0 | 1 | 2 }> = new Map();
