import { z } from "zod";

/** A change of a client's rows, as the script `rows` announces it. */
export interface RowChange {
  number: number;
  /** The number of the change before. */
  previous: number;
  /** The newest position of the journal at the moment of the change. */
  head: number;
  kind: string;
  client: string;
  /** Empty: the client has no writer any more. */
  generation: string;
  /** The run that has made the change. */
  run: string;
  /** A token or a row, and a will: see `scripts/rows.lua`. */
  details: readonly string[];
}

const fieldsSchema = z.tuple([z.string(), z.string(), z.string(), z.string(), z.string(), z.string()]).rest(z.string());

/** @throws {Error} the entry is damaged, or of a newer version */
export function readRowChange(id: Buffer | undefined, fields: readonly Buffer[]): RowChange {
  const number = Number.parseInt(id?.toString("latin1") ?? "", 10);
  const read = fieldsSchema.parse(JSON.parse(fields[1]?.toString() ?? ""));
  const [previous, head, kind, client, generation, run, ...details] = read;
  return { number, previous: Number(previous), head: Number(head), kind, client, generation, run, details };
}
