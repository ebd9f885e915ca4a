import type { StateEntry } from "./journal.ts";

/** The `data` of an entry, parsed. */
export function dataOf({ body }: Pick<StateEntry, "body">): unknown {
  const content: { data?: unknown } = JSON.parse(`{${body}}`);
  return content.data;
}

const TIMESTAMP = '"timestamp":"';

/** Reads the fields after an entry's data without parsing the data: it runs for every message of every camera. */
export function endOf({ body }: Pick<StateEntry, "body">): {
  timestamp: string;
  historical: boolean;
  seq: number | undefined;
} {
  // Values after the data cannot contain this text, so its last occurrence is the entry's own field.
  const from = body.lastIndexOf(TIMESTAMP) + TIMESTAMP.length;
  const end = body.indexOf('"', from);
  const [, late, seq] = /(,"historical":true)?(?:,"seq":(\d+))?$/.exec(body.slice(end)) ?? [];
  return {
    timestamp: body.slice(from, end),
    historical: late !== undefined,
    seq: seq === undefined ? undefined : Number(seq),
  };
}
