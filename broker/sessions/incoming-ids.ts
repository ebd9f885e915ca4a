import type { ClassicLevel } from "classic-level";

const PREFIX = "incoming:";
const END = "incoming;";

/**
 * The stored message ids of QoS 2 publications without a PUBREL, in memory, so that a lookup reads nothing from disk.
 */
export class IncomingIds {
  readonly #ids = new Map<string, Set<number>>();

  async load(db: ClassicLevel<string, Buffer>): Promise<void> {
    for await (const key of db.keys({ gte: PREFIX, lt: END })) {
      const [clientId = "", messageId] = key.slice(PREFIX.length).split(":");
      this.add(decodeURIComponent(clientId), Number(messageId));
    }
  }

  has(clientId: string, messageId: number): boolean {
    return this.#ids.get(clientId)?.has(messageId) ?? false;
  }

  any(clientId: string): boolean {
    return this.#ids.has(clientId);
  }

  of(clientId: string): number[] {
    return [...(this.#ids.get(clientId) ?? [])];
  }

  add(clientId: string, messageId: number): void {
    const ids = this.#ids.get(clientId);
    if (ids === undefined) this.#ids.set(clientId, new Set([messageId]));
    else ids.add(messageId);
  }

  delete(clientId: string, messageId: number): void {
    const ids = this.#ids.get(clientId);
    ids?.delete(messageId);
    if (ids?.size === 0) this.#ids.delete(clientId);
  }

  clear(clientId: string): void {
    this.#ids.delete(clientId);
  }

  clearAll(): void {
    this.#ids.clear();
  }
}
