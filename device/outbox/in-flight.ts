import type { OutboxEntry } from "./outbox.ts";
import type { Item } from "./outbox-index.ts";

/** A message in flight at this many disconnects by the broker is a suspect, and is then sent alone. */
const DISCONNECTS_TO_SUSPECT = 3;
/** A message in flight at this many disconnects is regarded as their cause, and is quarantined. */
const DISCONNECTS_TO_QUARANTINE = DISCONNECTS_TO_SUSPECT + 5;
const QUARANTINE_MS = 3_600_000;

export class InFlight {
  readonly #items = new Map<OutboxEntry, Item>();
  #quarantinedTopics: string[] = [];

  add(entry: OutboxEntry, item: Item): void {
    item.phase = "inFlight";
    item.sent = true;
    this.#items.set(entry, item);
  }

  remove(entry: OutboxEntry): Item | undefined {
    const item = this.#items.get(entry);
    this.#items.delete(entry);
    return item;
  }

  /** A suspect is sent alone, so that the next disconnect shows whether it is the cause. */
  admits(item: Item): boolean {
    if (this.#items.size === 0) return true;
    if (isSuspect(item)) return false;
    for (const other of this.#items.values()) if (isSuspect(other)) return false;
    return true;
  }

  clear(byPeer: boolean): void {
    if (byPeer) for (const [{ message }, item] of this.#items) this.#countDisconnect(item, message.topic);
    this.#items.clear();
  }

  takeQuarantined(): readonly string[] {
    return this.#quarantinedTopics.splice(0);
  }

  #countDisconnect(item: Item, topic: string): void {
    item.disconnects++;
    if (item.disconnects < DISCONNECTS_TO_QUARANTINE) return;
    item.disconnects = DISCONNECTS_TO_SUSPECT;
    item.quarantinedUntil = performance.now() + QUARANTINE_MS;
    this.#quarantinedTopics.push(topic);
  }
}

function isSuspect({ disconnects }: Item): boolean {
  return disconnects >= DISCONNECTS_TO_SUSPECT;
}
