import { z } from "zod";
import { Counts } from "../../../platform/counts.ts";
import type { PermissionSet } from "../../access/permission-sets.ts";
import { type SessionOwner, sessionOwnerSchema } from "../../access/session-owner.ts";
import { StoredSubscriptions } from "../stored-subscriptions.ts";

const filtersSchema = z.array(z.tuple([z.string(), z.union([z.literal(0), z.literal(1), z.literal(2)])]));

interface Session {
  owner: SessionOwner;
  /** The owner as stored in Redis. */
  text: string;
  set: PermissionSet | undefined;
}

/** The node's copy of all persistent sessions, kept up to date by the log. */
export class KnownSessions {
  readonly #permissionsOf: (permissions: readonly string[]) => PermissionSet;
  #sessions = new Map<string, Session>();
  /** Sessions per identity. */
  #counts = new Counts();
  #subscriptions = new StoredSubscriptions();
  /** The number of the newest change in this copy, as Redis formats numbers. */
  newest = "0";

  constructor(permissionsOf: (permissions: readonly string[]) => PermissionSet) {
    this.#permissionsOf = permissionsOf;
  }

  get size(): number {
    return this.#sessions.size;
  }

  clientIds(): IterableIterator<string> {
    return this.#sessions.keys();
  }

  entries(): [key: string, session: Readonly<Session>][] {
    return [...this.#sessions];
  }

  countOf(identity: string): number {
    return this.#counts.of(identity);
  }

  ownerOf(clientId: string): SessionOwner | undefined {
    return this.#sessions.get(clientId)?.owner;
  }

  setOf(clientId: string): PermissionSet | undefined {
    const session = this.#sessions.get(clientId);
    if (session === undefined) return undefined;
    session.set ??= this.#permissionsOf(session.owner.permissions);
    return session.set;
  }

  filtersOf(clientId: string): ReadonlyMap<string, { qos: 0 | 1 | 2 }> {
    return this.#subscriptions.filtersOf(clientId);
  }

  /** The sessions that queue a message on the topic: their owner may read the topic now. */
  match(topic: string): { clientId: string; qos: 1 | 2 }[] {
    return this.#subscriptions.match(topic).filter(({ clientId }) => this.setOf(clientId)?.mayRead(topic));
  }

  load(newest: string, owners: Record<string, string>, filters: Record<string, string>): void {
    this.#sessions = new Map();
    this.#counts = new Counts();
    this.#subscriptions = new StoredSubscriptions();
    for (const [clientId, owner] of Object.entries(owners)) this.#enter(clientId, owner, filters[clientId] ?? "");
    this.newest = newest;
  }

  /** @param owner empty when the session was discarded */
  change(newest: string, clientId: string, owner: string, filters: string): void {
    this.newest = newest;
    if (owner === "") {
      for (const filter of [...this.filtersOf(clientId).keys()]) this.#subscriptions.delete(clientId, filter);
      this.#leave(clientId);
    } else this.#enter(clientId, owner, filters);
  }

  #enter(clientId: string, owner: string, filters: string): void {
    this.#leave(clientId);
    const read = sessionOwnerSchema.parse(JSON.parse(owner));
    this.#sessions.set(clientId, { owner: read, text: owner, set: undefined });
    this.#counts.add(read.identity);
    const given = new Map(filters === "" ? [] : filtersSchema.parse(JSON.parse(filters)));
    const known = this.#subscriptions.filtersOf(clientId);
    for (const filter of [...known.keys()]) if (!given.has(filter)) this.#subscriptions.delete(clientId, filter);
    for (const [filter, qos] of given) {
      if (known.get(filter)?.qos !== qos) this.#subscriptions.set(clientId, filter, qos);
    }
  }

  #leave(clientId: string): void {
    const identity = this.#sessions.get(clientId)?.owner.identity;
    if (identity === undefined) return;
    this.#sessions.delete(clientId);
    this.#counts.subtract(identity);
  }
}

export function filtersText(filters: ReadonlyMap<string, 0 | 1 | 2>): string {
  return JSON.stringify([...filters]);
}
