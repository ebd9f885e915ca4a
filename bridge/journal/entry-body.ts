import type { StateEntry } from "./journal.ts";

/** The `data` of an entry, parsed. */
export function dataOf({ body }: Pick<StateEntry, "body">): unknown {
  const content: { data?: unknown } = JSON.parse(`{${body}}`);
  return content.data;
}

const TIMESTAMP = '"timestamp":"';

/** What an entry says of itself behind its data, read without parsing that: this is asked of every message of every camera. */
export function endOf({ body }: Pick<StateEntry, "body">): {
  timestamp: string;
  historical: boolean;
  seq: number | undefined;
} {
  // Behind the data there are names of the contract's form only, so the last of these is the entry's own.
  const from = body.lastIndexOf(TIMESTAMP) + TIMESTAMP.length;
  const end = body.indexOf('"', from);
  const [, late, seq] = /(,"historical":true)?(?:,"seq":(\d+))?$/.exec(body.slice(end)) ?? [];
  return {
    timestamp: body.slice(from, end),
    historical: late !== undefined,
    seq: seq === undefined ? undefined : Number(seq),
  };
}
