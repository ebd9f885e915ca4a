import type { LoggedPublication } from "../../../platform/publication-log.ts";
import type { FilterOptions } from "../../access/filter-options.ts";
import type { ShareClient } from "./share-client.ts";
import type { Assignment, ShareLedger } from "./share-ledger.ts";

interface Member {
  readonly client: ShareClient;
  options: FilterOptions;
  /** When the member got its last publication: among members with equal room, the longest wait wins. */
  turn: number;
  /** The member has been offered what waits up to this position, and got or may not receive it. */
  offeredTo: number;
}

/** A publication for a member that has room. Its message id is reserved. */
export interface Choice {
  readonly client: ShareClient;
  readonly publication: LoggedPublication;
  readonly assignment: Assignment;
  /** The options of the member's subscription. */
  readonly options: FilterOptions;
}

/** The members of a group that are connected to this node, and the choice among them. */
export class ShareMembers {
  readonly #ledger: Pick<ShareLedger, "members">;
  readonly #mayReceiveAway: (member: string, publication: LoggedPublication) => boolean;
  /** By session key. */
  readonly #members = new Map<string, Member>();
  #turns = 0;

  /** @param mayReceiveAway whether a member that is not connected to this node may receive the publication */
  constructor(
    ledger: Pick<ShareLedger, "members">,
    mayReceiveAway: (member: string, publication: LoggedPublication) => boolean,
  ) {
    this.#ledger = ledger;
    this.#mayReceiveAway = mayReceiveAway;
  }

  get size(): number {
    return this.#members.size;
  }

  get hasRoom(): boolean {
    for (const { client } of this.#members.values()) if (client.room > 0) return true;
    return false;
  }

  add(client: ShareClient, options: FilterOptions): void {
    const known = this.#members.get(client.key);
    if (known?.client === client) known.options = options;
    else this.#members.set(client.key, { client, options, turn: this.#turns, offeredTo: 0 });
  }

  remove(client: ShareClient): void {
    if (this.#members.get(client.key)?.client === client) this.#members.delete(client.key);
  }

  /**
   * The member with the most room gets the publication; among equals, the one that has had none for longest.
   * `later`: no member with room may receive it. `nobody`: no member may receive it.
   */
  choose(publication: LoggedPublication): Choice | "later" | "nobody" {
    let chosen: Member | undefined;
    let most = 0;
    let isWanted = false;
    for (const member of this.#members.values()) {
      if (!member.client.connection.mayReceive(publication)) continue;
      isWanted = true;
      const { room } = member.client;
      if (room < most || room === 0 || (room === most && chosen !== undefined && member.turn > chosen.turn)) continue;
      chosen = member;
      most = room;
    }
    if (chosen === undefined) return isWanted || this.#isForAway(publication) ? "later" : "nobody";
    chosen.turn = ++this.#turns;
    return choiceOf(chosen, publication);
  }

  /**
   * Above this position, publications that wait may be for a member that has room. Undefined: no member has room. Without
   * it, each acknowledgement would lead to a look at everything that waits for members that are away.
   */
  get offeredTo(): number | undefined {
    let lowest: number | undefined;
    for (const { client, offeredTo } of this.#members.values())
      if ((lowest === undefined || offeredTo < lowest) && client.room > 0) lowest = offeredTo;
    return lowest;
  }

  /** Members that have room need no second look at what waits up to this position: the next one above {@link offeredTo}. */
  offered(position: number): void {
    for (const member of this.#members.values())
      if (member.offeredTo < position && member.client.room > 0) member.offeredTo = position;
  }

  /** Publications from this position on have begun to wait. */
  offerFrom(position: number): void {
    for (const member of this.#members.values()) member.offeredTo = Math.min(member.offeredTo, position - 1);
  }

  /** A member that is away may have other permissions than those that are connected. */
  #isForAway(publication: LoggedPublication): boolean {
    for (const member of this.#ledger.members.keys())
      if (!this.#members.has(member) && this.#mayReceiveAway(member, publication)) return true;
    return false;
  }
}

/** The publication with the lower of both QoS [MQTT-4.8.2-3]. */
function choiceOf({ client, options }: Member, publication: LoggedPublication): Choice {
  const qos = options.qos < publication.qos ? options.qos : publication.qos;
  const messageId = qos === 0 ? 0 : client.reserve();
  const { position } = publication;
  return { client, publication, options, assignment: { position, member: client.key, qos, messageId, state: "sent" } };
}

/** The member does not get the publication. */
export function cancel({ client, assignment }: Choice): void {
  client.cancel(assignment.messageId);
}
