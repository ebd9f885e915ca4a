import type { JournalMessage } from "../../journal.ts";
import { type Frame, maxFrameBytes, readFrame, writeFrame } from "../publication-frames.ts";

/**
 * The size of a place: a publication's number in its batch, from 1. One value holds all publications of a batch, each
 * as its place and its frame.
 */
const PLACE_BYTES = 2;

/** Encodes the messages that are forwarded. */
export function encodePublications(messages: readonly JournalMessage[]): { bytes: Buffer; places: number[] } {
  let bytes = 0;
  for (const { topic, publish } of messages)
    if (publish !== undefined) bytes += PLACE_BYTES + maxFrameBytes(topic, publish);
  const value = Buffer.allocUnsafe(bytes);
  const places: number[] = [];
  let at = 0;
  for (const [index, { topic, publish, state }] of messages.entries()) {
    if (publish === undefined) continue;
    at = value.writeUInt16BE(index + 1, at);
    at = writeFrame(value, at, topic, publish, state !== undefined);
    places.push(index + 1);
  }
  return { bytes: value.subarray(0, at), places };
}

export function decodePublications(value: Buffer): (Frame & { place: number })[] {
  const publications: (Frame & { place: number })[] = [];
  for (let at = 0; at < value.length; ) {
    const place = value.readUInt16BE(at);
    const [frame, end] = readFrame(value, at + PLACE_BYTES);
    publications.push({ place, ...frame });
    at = end;
  }
  return publications;
}
