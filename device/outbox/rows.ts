import { z } from "zod";
import type { Dropped, OutgoingMessage } from "./outbox.ts";
import type { Change } from "./store.ts";

/** The kinds of rows, by the prefix of their keys. */
export const RowPrefix = { meta: "m!", body: "b!", seq: "n!", dedupKey: "k!", single: "x!" } as const;

export const LAST_SEQ_KEY = "x!seq";
/** Numbers of messages that were not sent after all. */
export const FREE_SEQS_KEY = "x!free";
export const DROPPED_KEY = "x!dropped";

/** Leading zeros sort the keys by their numbers. */
const KEY_DIGITS = 15;

export const metaKey = (key: number): string => RowPrefix.meta + digits(key);
export const bodyKey = (key: number): string => RowPrefix.body + digits(key);
export const seqKey = (key: number): string => RowPrefix.seq + digits(key);
export const dedupKeyRow = (dedupKey: string): string => RowPrefix.dedupKey + dedupKey;

export function withoutPrefix(row: string): string {
  return row.slice(2);
}

export function keyOf(row: string): number | undefined {
  const text = withoutPrefix(row);
  return /^\d{15}$/.test(text) ? Number(text) : undefined;
}

function digits(key: number): string {
  return String(key).padStart(KEY_DIGITS, "0");
}

export function deletionsOf(key: number): Change[] {
  return [
    [metaKey(key), undefined],
    [bodyKey(key), undefined],
    [seqKey(key), undefined],
  ];
}

const stampSchema = z.object({
  at: z.number(),
  monoMs: z.number(),
  boot: z.string(),
  trust: z.enum(["right", "unset", "unknown"]),
});

const metaSchema = z.object({
  topic: z.string(),
  kind: z.enum(["state", "alert", "reply", "event", "preview", "report"]),
  retain: z.boolean(),
  /** The time of the event. */
  stamp: stampSchema,
  /** The time of `put`. Absent when that was at about the time of `stamp`. */
  kept: stampSchema.optional(),
  /** Whether the body is bytes, not an envelope. */
  binary: z.boolean(),
  /** Size of body and topic. */
  bytes: z.number().int().nonnegative(),
});
/** Everything about a message except its body and its number. */
export type Meta = z.infer<typeof metaSchema>;

export function decodeMeta(text: string): Meta | undefined {
  return decode(metaSchema, text);
}

export type Content = Pick<OutgoingMessage, "topic" | "retain" | "body">;

export function decodeContent(metaRow: Uint8Array | undefined, body: Uint8Array | undefined): Content | undefined {
  const meta = metaRow === undefined ? undefined : decodeMeta(Buffer.from(metaRow).toString());
  if (meta === undefined || body === undefined) return undefined;
  const { topic, retain, binary, bytes } = meta;
  if (binary && body.length + Buffer.byteLength(topic) !== bytes) return undefined;
  return { topic, retain, body: binary ? body : Buffer.from(body).toString() };
}

export function encodeDropped({ count, from, to }: Dropped): string {
  return JSON.stringify({ count, from: from.getTime(), to: to.getTime() });
}

const droppedSchema = z.object({
  count: z.number().int().positive(),
  from: z.number().transform((ms) => new Date(ms)),
  to: z.number().transform((ms) => new Date(ms)),
});

export function decodeDropped(text: string): Dropped | undefined {
  return decode(droppedSchema, text);
}

export function decodeNumber(text: string): number | undefined {
  return decode(z.number().int().positive(), text);
}

export function decodeNumbers(text: string): number[] {
  return decode(z.array(z.number().int().positive()), text) ?? [];
}

function decode<Schema extends z.ZodType>(schema: Schema, text: string): z.output<Schema> | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
