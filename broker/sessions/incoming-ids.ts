/**
 * The stored message ids of QoS 2 publications without a PUBREL, in memory, so that a lookup reads nothing from disk.
 */
export class IncomingIds {
  readonly #ids = new Map<string, Set<number>>();

  has(clientId: string, messageId: number): boolean {
    return this.#ids.get(clientId)?.has(messageId) ?? false;
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
