import { hasExpired, type PublicationPage } from "../../../platform/publication-log.ts";
import type { ShareLedger } from "./share-ledger.ts";
import type { Choice, ShareMembers } from "./share-members.ts";
import { firstAbove } from "./waiting-positions.ts";

interface WaitingOptions {
  ledger: Pick<ShareLedger, "waiting" | "drop">;
  members: Pick<ShareMembers, "offeredTo" | "offered" | "choose">;
  /** Reads the publications above the position. */
  read(after: number): Promise<PublicationPage>;
  now: () => number;
  maxChoices: number;
}

/**
 * Offers members that have room what waits, each publication once to each member. What waits, and which members have room,
 * may change during a read.
 */
export async function chooseForWaiting({ ledger, members, read, now, maxChoices }: WaitingOptions): Promise<Choice[]> {
  const choices = new Map<number, Choice>();
  let page: PublicationPage | undefined;
  for (let after = members.offeredTo; after !== undefined && choices.size < maxChoices; after = members.offeredTo) {
    const position = firstAbove(ledger.waiting, after);
    if (position === undefined) break;
    if (page === undefined || position > page.next || position < (page.publications[0]?.position ?? position))
      page = await read(position - 1);
    const publication = publicationAt(page, position);
    // The log has lost the publication, or gave it up, or it has expired [MQTT-3.3.2-5].
    if (publication === undefined || hasExpired(publication, now)) ledger.drop(position, position);
    else {
      members.offered(position);
      const verdict = choices.has(position) ? undefined : members.choose(publication);
      if (typeof verdict === "object") choices.set(position, verdict);
    }
  }
  return [...choices.values()];
}

function publicationAt({ publications }: PublicationPage, position: number) {
  let [low, high] = [0, publications.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((publications[middle]?.position ?? 0) < position) low = middle + 1;
    else high = middle;
  }
  const found = publications[low];
  return found?.position === position ? found : undefined;
}
