import { type SharedFilter, sharedFilterText } from "../../../contract/shares.ts";

/** No user id and no filter may contain this character, so each key has one meaning. */
const SEPARATOR = "\u001f";

/**
 * A group of shared subscriptions. It belongs to one user, as client ids do: if groups were common to all users, each user
 * could take the messages of another user's group.
 */
export interface ShareName extends SharedFilter {
  readonly identity: string;
}

/** The key of the group. It has the form of a session key, whose client id is the filter with its group. */
export function shareKey(name: ShareName): string {
  return name.identity + SEPARATOR + sharedFilterText(name);
}
