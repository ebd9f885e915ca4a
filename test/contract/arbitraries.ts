import fc from "fast-check";
import type { Topic } from "../../contract/topics.ts";

const LETTERS = [..."abcdefghijklmnopqrstuvwxyz0123456789"];

export const anId = fc
  .tuple(fc.constantFrom(...LETTERS), fc.string({ unit: fc.constantFrom(...LETTERS, "-"), maxLength: 62 }))
  .map(([first, rest]) => first + rest);

export const anEventName = fc
  .array(
    anId.map((id) => id.slice(0, 12)),
    { minLength: 1, maxLength: 4 },
  )
  .map((parts) => parts.join("."));

/** Names for attacks: wildcards, separators, reserved and inherited names. */
export const aHostileName = fc.oneof(
  fc.constantFrom(
    "",
    "#",
    "+",
    "/",
    "north/#",
    "+/commands",
    "north/../south",
    "$SYS",
    "$share",
    "__proto__",
    "toString",
    "-north",
    "North",
    "north ",
    "nor\u0000th",
    "north\n",
    "nor\u202eth",
    "näher",
    "北",
    "🏔",
    "a".repeat(64),
    "camera:north",
    "%2f",
  ),
  fc.string({ unit: "binary", minLength: 1, maxLength: 80 }).filter((text) => !/^[a-z0-9][a-z0-9-]{0,62}$/.test(text)),
);

const aChannelName = fc.oneof(
  anId,
  fc.tuple(anId, anId).map(([kind, id]) => `${kind}:${id}`),
);

export type BuildableTopic = Exclude<Topic, { kind: "camera-other" | "service-other" }>;

export const aTopic: fc.Arbitrary<BuildableTopic> = fc.oneof(
  fc.record({ kind: fc.constantFrom("camera-link" as const, "camera-about" as const), camera: anId }),
  fc.record({ kind: fc.constantFrom("camera-state" as const, "camera-alert" as const), camera: anId, name: anId }),
  fc.record({ kind: fc.constant("camera-event" as const), camera: anId, event: anEventName }),
  fc.record({ kind: fc.constant("camera-preview" as const), camera: anId, capture: anId }),
  fc.record({
    kind: fc.constantFrom("camera-command" as const, "camera-reply" as const),
    camera: anId,
    command: anEventName,
  }),
  fc.record({ kind: fc.constant("service-link" as const), service: anId }),
  fc.record({ kind: fc.constant("service-job" as const), service: anId, job: anId }),
  fc.record({ kind: fc.constant("service-event" as const), service: anId, event: anEventName }),
  fc.record({ kind: fc.constant("service-alert" as const), service: anId, name: anId }),
  fc.record({ kind: fc.constant("system" as const), name: anId }),
  fc.record({
    ...{ kind: fc.constant("home-assistant" as const), of: anId },
    name: fc.constantFrom("state" as const, "picture" as const),
  }),
  fc.record({ kind: fc.constant("channel-event" as const), channel: aChannelName, event: anEventName }),
);

/** Short filters and topics of few letters, so that many filters match many topics. */
export const aFilter = fc
  .tuple(fc.array(fc.constantFrom("a", "b", "+"), { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([levels, open]) => [...levels, ...(open ? ["#"] : [])].join("/"));

export const aPlainTopic = fc
  .array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join("/"));
