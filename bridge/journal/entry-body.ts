import type { StateEntry } from "./journal.ts";

export function dataOf({ body }: Pick<StateEntry, "body">): unknown {
  const content: { data?: unknown } = JSON.parse(`{${body}}`);
  return content.data;
}

const TIMESTAMP = '"timestamp":"';

/** Reads the fields after an entry's data without parsing the data: it runs for every message of every camera. */
export function endOf({ body }: Pick<StateEntry, "body">) {
  // Values after the data cannot contain this text, so its last occurrence is the entry's own field.
  const from = body.lastIndexOf(TIMESTAMP) + TIMESTAMP.length;
  const end = body.indexOf('"', from);
  const [, late, digits] = /(,"historical":true)?(?:,"seq":(\d+))?$/.exec(body.slice(end)) ?? [];
  const seq = digits === undefined ? undefined : Number(digits);
  return { timestamp: body.slice(from, end), historical: late !== undefined, seq };
}
