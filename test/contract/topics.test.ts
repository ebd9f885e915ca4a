import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  filterCovers,
  filterMatches,
  filterProblem,
  MAX_TOPIC_LENGTH,
  MAX_TOPIC_LEVELS,
  topicProblem,
  topicTree,
} from "../../contract/topics.ts";
import { aFilter, aHostileName, anEventName, anId, aPlainTopic, aTopic } from "./arbitraries.ts";

const tree = topicTree();

describe("topics of the contract", () => {
  it("are parsed into the same parts from which they were built, under any root", () => {
    fc.assert(
      fc.property(aTopic, fc.constantFrom("skylapse/v1", "site", "a/b/c"), (topic, root) => {
        const rooted = topicTree(root);
        expect(rooted.parse(rooted.build(topic))).toEqual(topic);
      }),
    );
  });

  it("never contain a wildcard, an empty level or the name of another owner", () => {
    fc.assert(
      fc.property(aTopic, (topic) => {
        const name = tree.build(topic);
        expect(topicProblem(name)).toBeUndefined();
        expect(filterMatches(name, name)).toBe(true);
      }),
    );
  });

  it("cannot be built from a hostile name", () => {
    fc.assert(
      fc.property(aHostileName, (name) => {
        expect(() => tree.build({ kind: "camera-link", camera: name })).toThrow(RangeError);
        expect(() => tree.build({ kind: "camera-state", camera: "north", name })).toThrow(RangeError);
        expect(() => tree.build({ kind: "service-job", service: name, job: "a" })).toThrow(RangeError);
        expect(() => tree.build({ kind: "system", name })).toThrow(RangeError);
      }),
    );
  });

  it("cannot be parsed with a hostile name", () => {
    fc.assert(
      fc.property(aHostileName, (name) => {
        // A name with a slash is several levels, and only the first level can be the owner.
        const owner = name.split("/")[0];
        for (const path of [`cameras/${name}/link`, `cameras/${name}/events/capture.completed`, `system/${name}`]) {
          const topic = tree.parse(`skylapse/v1/${path}`);
          if (topic !== undefined) expect(topic).toEqual({ kind: "camera-other", camera: owner });
        }
        expect(tree.parse(`skylapse/v1/cameras/north/state/${name}`)?.kind ?? "camera-other").toBe("camera-other");
      }),
    );
  });

  it.each([
    ["another root", "skylapse/v2/cameras/north/link"],
    ["the bare root", "skylapse/v1"],
    ["a longer first level", "skylapse/v1x/cameras/north/link"],
    ["an unknown branch", "skylapse/v1/satellites/north/link"],
    ["a camera alone", "skylapse/v1/cameras/north"],
    ["one level too many below system", "skylapse/v1/system/status/more"],
    ["an unknown shape below commands", "skylapse/v1/cameras/north/commands/reboot/now"],
    ["commands without a name", "skylapse/v1/cameras/north/commands"],
  ])("cannot be parsed from %s", (_, topic) => {
    expect(tree.parse(topic)).toBeUndefined();
  });

  it("include unlisted topics of a device, with the kind other", () => {
    expect(tree.parse("skylapse/v1/cameras/north/debug/gps")).toEqual({ kind: "camera-other", camera: "north" });
    expect(tree.parse("skylapse/v1/processing/worker/debug")).toEqual({ kind: "service-other", service: "worker" });
  });

  it("require a valid topic as the root", () => {
    expect(() => topicTree("skylapse/#")).toThrow("topic root contains a wildcard");
    expect(() => topicTree("")).toThrow("topic root is empty");
    expect(() => topicTree("/skylapse")).toThrow("topic root has an empty level");
  });
});

describe("a topic for publishing", () => {
  it.each([
    ["a/+/b", "contains a wildcard"],
    ["a/#", "contains a wildcard"],
    ["", "is empty"],
    ["a//b", "has an empty level"],
    ["a/\u0000", "contains a control or format character"],
    ["a/\n", "contains a control or format character"],
    ["a/\u202eb", "contains a control or format character"],
    ["a".repeat(MAX_TOPIC_LENGTH + 1), `is longer than ${MAX_TOPIC_LENGTH} characters`],
    [
      Array(MAX_TOPIC_LEVELS + 1)
        .fill("a")
        .join("/"),
      `has more than ${MAX_TOPIC_LEVELS} levels`,
    ],
  ])("%j is rejected: it %s", (topic, problem) => {
    expect(topicProblem(topic)).toBe(problem);
  });

  it("may reach the limits of length and depth", () => {
    expect(topicProblem("a".repeat(MAX_TOPIC_LENGTH))).toBeUndefined();
    expect(topicProblem(Array(MAX_TOPIC_LEVELS).fill("a").join("/"))).toBeUndefined();
  });
});

describe("a filter for subscribing", () => {
  it.each(["#", "+", "a/+/b", "a/#", "+/+/#", "$SYS/#"])("%s is valid", (filter) => {
    expect(filterProblem(filter)).toBeUndefined();
  });

  it.each([
    ["a/#/b", "has '#' in another place than its last level"],
    ["a#", "has '#' in another place than its last level"],
    ["a+/b", "has '+' inside a level"],
    ["a//#", "has an empty level"],
  ])("%s is rejected: it %s", (filter, problem) => {
    expect(filterProblem(filter)).toBe(problem);
  });

  it("matches topics as MQTT specifies", () => {
    expect(filterMatches("sport/tennis/#", "sport/tennis")).toBe(true);
    expect(filterMatches("sport/+/player", "sport/tennis/player")).toBe(true);
    expect(filterMatches("sport/+", "sport")).toBe(false);
    expect(filterMatches("+", "sport/tennis")).toBe(false);
    expect(filterMatches("#", "$SYS/broker")).toBe(false);
    expect(filterMatches("+/broker", "$SYS/broker")).toBe(false);
    expect(filterMatches("$SYS/#", "$SYS/broker")).toBe(true);
  });

  it("covers another filter only if it matches all topics of that filter", () => {
    fc.assert(
      fc.property(aFilter, aFilter, aPlainTopic, (wide, narrow, topic) => {
        fc.pre(filterCovers(wide, narrow) && filterMatches(narrow, topic));
        expect(filterMatches(wide, topic)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("covers a topic if and only if it matches the topic", () => {
    fc.assert(
      fc.property(aFilter, aPlainTopic, (filter, topic) => {
        expect(filterCovers(filter, topic)).toBe(filterMatches(filter, topic));
      }),
    );
  });

  it("covers itself, and is covered by #", () => {
    fc.assert(
      fc.property(aFilter, (filter) => {
        expect(filterCovers(filter, filter)).toBe(true);
        expect(filterCovers("#", filter)).toBe(true);
      }),
    );
    expect(filterCovers("#", "$SYS/#")).toBe(false);
    expect(filterCovers("a/+", "a/#")).toBe(false);
  });
});

describe("names", () => {
  it("of cameras and events are always one level of a topic", () => {
    fc.assert(
      fc.property(anId, anEventName, (id, event) => {
        expect(id.split("/")).toHaveLength(1);
        expect(tree.build({ kind: "camera-event", camera: id, event }).split("/")).toHaveLength(6);
      }),
    );
  });
});
