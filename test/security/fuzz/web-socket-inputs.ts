import fc, { type Arbitrary } from "fast-check";
import { type FrameOptions, frame, UPGRADE } from "../raw-web-socket.ts";
import { hostileJson, mutated, rawBytes } from "./mutations.ts";

const anyFrame: Arbitrary<FrameOptions> = fc.record(
  {
    opcode: fc.nat(15),
    final: fc.boolean(),
    reserved: fc.nat(7),
    masked: fc.boolean(),
    claims: fc.constantFrom(0, 125, 126, 65_535, 65_536, 2 ** 31, 2 ** 53),
  },
  { requiredKeys: [] },
);

/** Messages in frames, valid or not. @param opcode of the valid frames: 1 for text, 2 for binary */
export function framed(messages: Arbitrary<Buffer>, opcode: 1 | 2): Arbitrary<Buffer> {
  const whole = messages.map((content) => frame(content, { opcode }));
  return fc.oneof(
    whole,
    mutated(whole),
    fc.tuple(messages, anyFrame).map(([content, options]) => frame(content, { opcode, ...options })),
    fc.tuple(rawBytes, anyFrame).map(([content, options]) => frame(content, { opcode, ...options })),
    // A message in two fragments with a ping between them.
    messages.map((content) =>
      Buffer.concat([
        frame(content.subarray(0, 5), { opcode, final: false }),
        frame("p", { opcode: 9 }),
        frame(content.subarray(5), { opcode: 0 }),
      ]),
    ),
    fc.constantFrom(
      frame("", { opcode: 8 }),
      frame(Buffer.from([0x0f, 0xa1]), { opcode: 8 }),
      frame("", { opcode: 10 }),
    ),
  );
}

const frames = (texts: Arbitrary<string>): Arbitrary<Buffer> =>
  framed(
    texts.map((text) => Buffer.from(text)),
    1,
  );

export function beforeAuth(token: string): Arbitrary<Buffer> {
  const messages = fc.oneof(
    hostileJson({ type: "auth", token, id: 1 }),
    hostileJson({ type: "auth", token: "a.b.c" }),
    hostileJson({ type: "subscribe", channel: "dashboard" }),
  );
  const upgraded = frames(messages).map((bytes) => Buffer.concat([UPGRADE, bytes]));
  return fc.oneof(rawBytes, mutated(fc.constant(UPGRADE)), upgraded, upgraded);
}

export function afterAuth(token: string): Arbitrary<Buffer> {
  return frames(
    fc.oneof(
      hostileJson({ type: "subscribe", channel: "dashboard", since: { epoch: "x", position: 1 }, id: 1 }),
      hostileJson({ type: "subscribe", channel: "camera:north", id: "a" }),
      hostileJson({ type: "unsubscribe", channel: "dashboard", id: 2 }),
      hostileJson({ type: "command", camera: "fuzz", name: "capture.now", args: {}, expires_in: 1, id: 3 }),
      hostileJson({ type: "auth", token, id: 4 }),
      hostileJson({ type: "ping", id: 5 }),
    ),
  );
}
