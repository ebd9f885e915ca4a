import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RetainedTopics } from "../../../broker/access/retained-topics.ts";
import { TopicIndex } from "../../../broker/aedes/topic-index.ts";
import { filterMatches } from "../../../contract/topics.ts";
import { TopicCache } from "../../../platform/topic-cache.ts";

const level = fc.constantFrom("a", "b", "", "$SYS", "__proto__", "constructor");
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant("+")), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, open]) => (open ? [...levels, "#"] : levels).join("/"));
const anyFilter = fc.oneof(filter, fc.constant("#"));

describe("TopicIndex", () => {
  it("finds the filters that match a topic, and returns each filter as often as it was added", () => {
    fc.assert(
      fc.property(fc.array(anyFilter), topic, (filters, name) => {
        const index = new TopicIndex<string>();
        for (const entry of filters) index.add(entry, entry);
        expect(index.match(name).sort()).toEqual(filters.filter((entry) => filterMatches(entry, name)).sort());
      }),
    );
  });

  it("removes only one occurrence of a filter", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(anyFilter, fc.boolean())), topic, (entries, name) => {
        const index = new TopicIndex<number>();
        entries.forEach(([entry], id) => {
          index.add(entry, id);
        });
        entries.forEach(([entry, goes], id) => {
          if (goes) index.remove(entry, id);
        });
        const expected = entries.flatMap(([entry, goes], id) => (!goes && filterMatches(entry, name) ? [id] : []));
        expect(index.match(name).sort((one, other) => one - other)).toEqual(expected);
      }),
    );
  });
});

describe("RetainedTopics", () => {
  it("finds the topics that a filter matches", () => {
    fc.assert(
      fc.property(fc.array(topic), fc.array(topic), anyFilter, (added, removed, pattern) => {
        const topics = new RetainedTopics();
        for (const name of added) topics.add(name, name.length + 1);
        for (const name of removed) topics.remove(name);
        const left = [...new Set(added)].filter((name) => !removed.includes(name));
        expect(topics.size).toBe(left.length);
        const matched = topics.match(pattern);
        if (!/^[#+]/.test(pattern))
          expect(topics.weigh(pattern)).toEqual({
            messages: matched.length,
            bytes: matched.reduce((sum, name) => sum + name.length + 1, 0),
          });
        expect(topics.bytes).toBe(left.reduce((sum, name) => sum + name.length + 1, 0));
        expect(topics.match(pattern).sort()).toEqual(left.filter((name) => filterMatches(pattern, name)).sort());
        for (const name of left) expect(topics.has(name)).toBe(true);
      }),
    );
  });
});

describe("TopicCache", () => {
  it("keeps the decision for a topic in use, and evicts unused topics", () => {
    const asked: string[] = [];
    const decisions = new TopicCache((name) => {
      asked.push(name);
      return name.startsWith("a");
    }, 10);
    for (let index = 0; index < 100; index++) {
      expect(decisions.of("always")).toBe(true);
      expect(decisions.of(`b${index}`)).toBe(false);
    }
    expect(asked.filter((name) => name === "always")).toHaveLength(1);
    asked.length = 0;
    decisions.of("b50");
    expect(asked).toEqual(["b50"]);
  });
});
