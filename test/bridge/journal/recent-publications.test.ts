import { expect, test } from "vitest";
import { RecentPublications } from "../../../bridge/journal/core/recent-publications.ts";

test("recent publications do not keep the bytes that arrived together with a small payload or its properties", () => {
  const recent = new RecentPublications(0);
  const part = (text: string): Buffer => {
    const received = Buffer.alloc(65_536);
    received.write(text, 1_000);
    return received.subarray(1_000, 1_000 + text.length);
  };
  for (let position = 1; position <= 500; position++) {
    const properties = position % 2 === 0 ? part(`properties ${position}`) : undefined;
    const publication = { position, topic: "a", payload: part(`payload ${position}`), qos: 1, retain: false } as const;
    recent.push([{ ...publication, properties }], position);
  }
  const { publications } = recent.read(0) ?? { publications: [] };
  expect(publications.map(({ payload }) => payload.toString())).toEqual(
    Array.from({ length: 500 }, (_, index) => `payload ${index + 1}`),
  );
  expect(Buffer.from(publications[1]?.properties ?? []).toString()).toBe("properties 2");
  const kept = new Set(
    publications.flatMap(({ payload, properties }) => [payload.buffer, properties?.buffer ?? payload.buffer]),
  );
  expect([...kept].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(200_000);
});

test("recent publications keep a payload that is most of what arrived without a copy", () => {
  const recent = new RecentPublications(0);
  const payload = Buffer.alloc(50_000);
  recent.push([{ position: 1, topic: "a", payload: payload.subarray(10), qos: 1, retain: false }], 1);
  expect(recent.read(0)?.publications[0]?.payload.buffer).toBe(payload.buffer);
});
