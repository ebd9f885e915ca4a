import { expect, it } from "vitest";
import { comesLive } from "../../../broker/access/client-registry.ts";

it.each<[string, number, number, [string, number][], boolean]>([
  ["after the SUBSCRIBE", 11, 0, [["a/+", 10]], true],
  ["before the SUBSCRIBE", 10, 0, [["a/+", 10]], false],
  [
    "before one of two SUBSCRIBEs",
    11,
    0,
    [
      ["a/+", 10],
      ["#", 11],
    ],
    false,
  ],
  [
    "before a SUBSCRIBE to other topics",
    11,
    0,
    [
      ["a/+", 10],
      ["b/#", 20],
    ],
    true,
  ],
  ["after UNSUBSCRIBE", 11, 0, [["b/#", 1]], false],
  ["and dropped, because the client was too slow", 11, 11, [["a/+", 10]], false],
])("of a message published %s", (_, position, liveAbove, sinces, expected) => {
  const filters = new Map(sinces.map(([filter, since]) => [filter, { qos: 0, since }] as const));
  expect(comesLive({ filters, liveAbove }, "a/b", position)).toBe(expected);
});
