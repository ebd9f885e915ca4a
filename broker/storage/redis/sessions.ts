import { z } from "zod";
import type { SessionOwner } from "../../authenticate.ts";
import type { PermissionSet } from "../../permission-sets.ts";
import { StoredSubscriptions } from "../stored-subscriptions.ts";

const ownerSchema = z.object({ identity: z.string(), permissions: z.array(z.string()) });
const filtersSchema = z.array(z.tuple([z.string(), z.union([z.literal(0), z.literal(1), z.literal(2)])]));

interface Session {
  owner: SessionOwner;
  set: PermissionSet | undefined;
}

/** What a node knows of all persistent sessions: read at its start, and kept up to date by the log. */
export class KnownSessions {
  readonly #permissionsOf: (permissions: readonly string[]) => PermissionSet;
  #sessions = new Map<string, Session>();
  #subscriptions = new StoredSubscriptions();
  /** The newest change that is known, as Redis writes it. */
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

  /** The sessions that queue a message on the topic: those whose owner may read it, now and not only when it subscribed. */
  match(topic: string): { clientId: string; qos: 1 | 2 }[] {
    return this.#subscriptions.match(topic).filter(({ clientId }) => this.setOf(clientId)?.mayRead(topic));
  }

  /** Replaces everything. */
  load(newest: string, owners: Record<string, string>, filters: Record<string, string>): void {
    this.#sessions = new Map();
    this.#subscriptions = new StoredSubscriptions();
    for (const [clientId, owner] of Object.entries(owners)) this.#enter(clientId, owner, filters[clientId] ?? "");
    this.newest = newest;
  }

  /** @param owner '' when the session was discarded */
  change(newest: string, clientId: string, owner: string, filters: string): void {
    this.newest = newest;
    if (owner === "") {
      for (const filter of [...this.filtersOf(clientId).keys()]) this.#subscriptions.delete(clientId, filter);
      this.#sessions.delete(clientId);
    } else this.#enter(clientId, owner, filters);
  }

  #enter(clientId: string, owner: string, filters: string): void {
    this.#sessions.set(clientId, { owner: ownerSchema.parse(JSON.parse(owner)), set: undefined });
    const given = new Map(filters === "" ? [] : filtersSchema.parse(JSON.parse(filters)));
    const known = this.#subscriptions.filtersOf(clientId);
    for (const filter of [...known.keys()]) if (!given.has(filter)) this.#subscriptions.delete(clientId, filter);
    for (const [filter, qos] of given) {
      if (known.get(filter)?.qos !== qos) this.#subscriptions.set(clientId, filter, qos);
    }
  }
}

export function ownerText({ identity, permissions }: SessionOwner): string {
  return JSON.stringify({ identity, permissions });
}

export function filtersText(filters: ReadonlyMap<string, 0 | 1 | 2>): string {
  return JSON.stringify([...filters]);
}
