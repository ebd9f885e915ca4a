import { counted } from "./counted.ts";
/**
 * The limits of a retained message's topic. Nodes that share a store learn of each other's messages a moment later, so the
 * store checks the limits when it stores the message. The quota travels with the message.
 */
export interface RetainedQuota {
  /** The topics below this one count together. Undefined: only the number of all topics is limited. */
  readonly owner: string | undefined;
  /** Topics with a retained message below the owner; Infinity for no limit. */
  readonly maxOfOwner: number;
  /** Topics with a retained message; Infinity for no limit. */
  readonly maxOfAll: number;
  /** Set by a store that had no room: the message is stored and delivered, but not retained. For an operator. */
  exceeded: string | undefined;
}

export function allProblem(count: number, max: number): string {
  return `there ${count === 1 ? "is" : "are"} ${counted(count, "retained message")}, and MAX_RETAINED_MESSAGES is ${max}`;
}

export function ownerProblem(owner: string | undefined, count: number, max: number): string {
  return `${owner} has ${counted(count, "retained message")}, and MAX_RETAINED_MESSAGES_PER_DEVICE is ${max}`;
}
