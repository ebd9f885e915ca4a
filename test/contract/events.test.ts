import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_JSON_DEPTH, readPublication, timestampSchema } from "../../contract/events.ts";
import { jsonDepth } from "../../contract/json-text.ts";
import { topicTree } from "../../contract/topics.ts";
import { aTopic } from "./arbitraries.ts";

const at = Date.parse("2026-03-01T06:30:00.000Z");
const bytes = (text: string) => new TextEncoder().encode(text);
const completed = { kind: "camera-event", camera: "north", event: "capture.completed" } as const;
const envelope = {
  v: 1,
  id: "01J",
  timestamp: "2026-03-01T05:00:00Z",
  session: "s",
  seq: 7,
  event: "x.y",
  data: { a: 1 },
};

describe("a payload", () => {
  it("in an envelope is read with the fields of the envelope", () => {
    expect(readPublication(completed, bytes(JSON.stringify({ ...envelope, historical: true })), at)).toEqual({
      event: "x.y",
      data: { a: 1 },
      dataText: '{"a":1}',
      timestamp: "2026-03-01T05:00:00Z",
      id: "01J",
      session: "s",
      seq: 7,
      historical: true,
    });
  });

  it.each([
    ["bare JSON", '{"a":1}', { a: 1 }, true],
    ["a JSON number", "21.5", 21.5, true],
    ["text", "all well", { text: "all well" }, false],
    ["an envelope of a later version", JSON.stringify({ ...envelope, v: 2 }), { ...envelope, v: 2 }, true],
    [
      "an envelope with a time without its zone",
      JSON.stringify({ ...envelope, timestamp: "2026-03-01T05:00:00" }),
      { ...envelope, timestamp: "2026-03-01T05:00:00" },
      true,
    ],
    ["nothing", "", null, false],
  ])("that is %s is wrapped, not rejected", (_, payload, data, isJson) => {
    expect(readPublication(completed, bytes(payload), at)).toEqual({
      event: "capture.completed",
      data,
      timestamp: "2026-03-01T06:30:00.000Z",
      dataText: isJson ? payload : undefined,
      id: undefined,
      session: undefined,
      seq: undefined,
      historical: false,
    });
  });

  it("that is not UTF-8 is replaced by its length", () => {
    expect(readPublication(completed, Uint8Array.of(0xff, 0xd8, 0xff), at).data).toEqual({ bytes: 3 });
  });

  it("nested deeper than the limit becomes text, because JSON.stringify would overflow the stack", () => {
    const deep = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
    expect(readPublication(completed, bytes(deep(MAX_JSON_DEPTH + 1)), at).data).toEqual({
      text: deep(MAX_JSON_DEPTH + 1),
    });
    expect(readPublication(completed, bytes(deep(MAX_JSON_DEPTH)), at).data).toEqual(JSON.parse(deep(MAX_JSON_DEPTH)));
  });

  it("of any bytes is read without an error, with an encodable result", () => {
    fc.assert(
      fc.property(aTopic, fc.uint8Array({ maxLength: 200 }), (topic, payload) => {
        const publication = readPublication(topic, payload, at);
        expect(() => JSON.stringify(publication)).not.toThrow();
        expect(timestampSchema.safeParse(publication.timestamp).success).toBe(true);
      }),
    );
  });

  it("of any JSON is unchanged after wrapping", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        const text = JSON.stringify(value);
        fc.pre(!text.includes('"v"'));
        expect(JSON.stringify(readPublication(completed, bytes(text), at).data)).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });
});

describe("the text of an envelope's data", () => {
  const textOf = (payload: string) => readPublication(completed, bytes(payload), at).dataText;
  const rest = '"v":1,"id":"01J","timestamp":"2026-03-01T05:00:00Z","event":"x.y"';

  it("represents the value of the data, at any position in the envelope", () => {
    const place = fc.constantFrom("first", "middle", "last");
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), place, fc.constantFrom(0, 2), (data, where, indent) => {
        const { data: own, ...others } = envelope;
        const first = where === "first" ? { data, ...others } : { ...others, data };
        const value = where === "middle" ? { ...first, extra: { data: own, '"data"': "}" } } : first;
        const publication = readPublication(completed, bytes(JSON.stringify(value, null, indent)), at);
        expect(JSON.parse(publication.dataText ?? "")).toEqual(publication.data);
      }),
    );
  });

  it.each([
    [
      "is exactly the sender's text, even for digits beyond the precision of numbers",
      `{${rest},"data": 12345678901234567890 }`,
      "12345678901234567890",
    ],
    ["is the last member with the name, as in JSON.parse", `{"data":1,${rest},"data":[2,"}"]}`, '[2,"}"]'],
    ["is found under a name with escapes", `{"data":1,${rest},"d\\u0061ta":2}`, "2"],
    ["is not taken from another name with escapes", `{"data":1,${rest},"d\\u0062ta":2}`, "1"],
    ["is undefined without data", `{${rest}}`, undefined],
    ["is not taken from a nested member", `{${rest},"other":{"data":1}}`, undefined],
  ])("%s", (_, payload, text) => {
    expect(textOf(payload)).toBe(text);
  });
});

describe("the depth of a JSON text", () => {
  const depthOf = (value: unknown): number =>
    typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;

  it("is the depth of its value, regardless of brackets in strings", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        expect(jsonDepth(JSON.stringify(value))).toBe(depthOf(JSON.parse(JSON.stringify(value))));
      }),
    );
    expect(jsonDepth('["[[[", "\\"[["]')).toBe(1);
  });
});

describe("a bare payload is named after its topic", () => {
  const tree = topicTree();
  it.each([
    ["cameras/north/about", "{}", "camera.about"],
    ["cameras/north/about", "", "state.cleared"],
    ["cameras/north/state/environment", "{}", "environmental.update"],
    ["cameras/north/state/settings", "{}", "settings.applied"],
    ["cameras/north/state/gps", "{}", "state.updated"],
    ["cameras/north/alerts/disk", "{}", "alert.raised"],
    ["cameras/north/alerts/disk", "", "alert.cleared"],
    ["processing/worker/jobs/j1", '{"status":"processing"}', "job.progress"],
    ["processing/worker/jobs/j1", '{"status":"completed"}', "job.completed"],
    ["processing/worker/jobs/j1", '{"status":"failed"}', "job.failed"],
    ["processing/worker/jobs/j1", "", "state.cleared"],
    ["system/status", "{}", "system.status"],
    ["channels/dashboard/events/my.event", "{}", "my.event"],
  ])("%s with %j is %s", (path, payload, event) => {
    const topic = tree.parse(`skylapse/v1/${path}`);
    if (topic === undefined) throw new Error(`${path} is no topic`);
    expect(readPublication(topic, bytes(payload), at).event).toBe(event);
  });
});
