import { z } from "zod";
import type { Stamp } from "../host/clock.ts";
import type { Dropped, OutgoingMessage } from "./outbox.ts";

/**
 * The rows of the outbox' store, by the first letter of their keys:
 * `m` what a message is, `b` its body, `n` its number, `k` a mark, and three of which there is one each.
 */
export const LAST_SEQ_KEY = "x!seq";
/** Numbers that were given to messages and taken back before these were sent. */
export const FREE_SEQS_KEY = "x!free";
export const DROPPED_KEY = "x!dropped";

/** As many digits as the largest key needs, so that text sorts as numbers do. */
const KEY_DIGITS = 15;

export const metaKey = (key: number): string => `m!${digits(key)}`;
export const bodyKey = (key: number): string => `b!${digits(key)}`;
export const seqKey = (key: number): string => `n!${digits(key)}`;
export const markKey = (mark: string): string => `k!${mark}`;

export function isMarkKey(row: string): boolean {
  return row.startsWith("k!");
}

/** The number in such a key, or undefined. */
export function keyOf(row: string): number | undefined {
  const text = row.slice(2);
  return /^\d{15}$/.test(text) ? Number(text) : undefined;
}

function digits(key: number): string {
  return String(key).padStart(KEY_DIGITS, "0");
}

/** All about a message but its body. */
export interface Meta {
  topic: string;
  kind: OutgoingMessage["kind"];
  retain: boolean;
  stamp: Stamp;
  /** When it was put, if that was another time. */
  kept?: Stamp | undefined;
  /** The body is bytes, not an envelope. */
  binary: boolean;
  /** Of body and topic. */
  bytes: number;
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
  stamp: stampSchema,
  kept: stampSchema.optional(),
  binary: z.boolean(),
  bytes: z.number().int().nonnegative(),
});

export function encodeMeta(meta: Meta): string {
  return JSON.stringify(meta);
}

/** Undefined for a row that makes no sense. */
export function decodeMeta(text: string): Meta | undefined {
  return decode(metaSchema, text);
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
