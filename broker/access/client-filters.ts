import { hasWildcard } from "../../contract/topics.ts";
import type { Counts } from "../../platform/counts.ts";

/** What a client is granted for one of its filters. */
export interface Grant {
  readonly qos: 0 | 1 | 2;
  /** Publications above this position are newer than the client's last SUBSCRIBE to the filter, and come live. */
  readonly since: number;
}

/** The filters of one client, which are also counted for its user. */
export class ClientFilters extends Map<string, Grant> {
  readonly #identity: string;
  readonly #ofUsers: Counts;
  #isClosed = false;
  /** The filters with `+` or `#`. */
  wildcards = 0;

  /** @param ofUsers the filters of all clients of each user */
  constructor(identity: string, ofUsers: Counts) {
    super();
    this.#identity = identity;
    this.#ofUsers = ofUsers;
  }

  /** The filters of all clients of this client's user. */
  get ofUser(): number {
    return this.#ofUsers.of(this.#identity);
  }

  override set(filter: string, grant: Grant): this {
    if (!this.#isClosed && !this.has(filter)) {
      this.#ofUsers.add(this.#identity);
      if (hasWildcard(filter)) this.wildcards++;
    }
    return super.set(filter, grant);
  }

  override delete(filter: string): boolean {
    if (!super.delete(filter) || this.#isClosed) return false;
    this.#ofUsers.subtract(this.#identity);
    if (hasWildcard(filter)) this.wildcards--;
    return true;
  }

  /** The client has disconnected. A subscription that is still under way does not count any more. */
  close(): void {
    if (!this.#isClosed) for (const _ of this.keys()) this.#ofUsers.subtract(this.#identity);
    this.#isClosed = true;
  }
}
