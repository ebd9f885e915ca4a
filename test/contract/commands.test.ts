import { expect, it } from "vitest";
import { withIssuer } from "../../contract/commands.ts";

const named = (command: string) => new TextDecoder().decode(withIssuer(Buffer.from(command), "user:alice"));

it("adds the publisher to a command, and leaves the rest of the text unchanged", () => {
  expect(named('{"args":{"steps":12345678901234567890,"far":1e400} }')).toBe(
    '{"args":{"steps":12345678901234567890,"far":1e400} ,"issued_by":"user:alice"}',
  );
  expect(named("{ }")).toBe('{ "issued_by":"user:alice"}');
});

it("replaces a publisher that a client claims", () => {
  for (const claim of ['{"issued_by":"operator","a":1}', '{"issued\\u005fby":"operator","a":1}'])
    expect(JSON.parse(named(claim))).toEqual({ issued_by: "user:alice", a: 1 });
});
