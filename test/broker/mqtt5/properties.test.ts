import { describe, expect, it } from "vitest";
import { ByteReader } from "../../../broker/mqtt5/byte-reader.ts";
import {
  decodeProperties,
  encodeProperties,
  type MessageProperties,
  PropertyId,
  readProperties,
} from "../../../broker/mqtt5/properties.ts";
import { ReasonCode } from "../../../broker/mqtt5/reason-codes.ts";

const ALL: ReadonlySet<number> = new Set(Object.values(PropertyId));

function read(...bytes: number[]) {
  return readProperties(new ByteReader(Buffer.from([bytes.length, ...bytes])), ALL);
}

/** The reason code with which the properties are refused. */
function refusal(...bytes: number[]): unknown {
  try {
    read(...bytes);
    return "accepted";
  } catch (error) {
    return error instanceof Error && "reasonCode" in error ? error.reasonCode : error;
  }
}

describe("the properties of a message", () => {
  it("are decoded as they were encoded, user properties in their order [MQTT-3.3.2-17] [MQTT-3.3.2-18]", () => {
    const properties: MessageProperties = {
      payloadFormat: 1,
      contentType: "image/jpeg",
      responseTopic: "replies/é",
      correlationData: Buffer.from([0, 255]),
      userProperties: [
        ["b", "1"],
        ["a", "2"],
        ["b", "3"],
        ["__proto__", ""],
      ],
    };
    expect(decodeProperties(encodeProperties(properties) ?? Buffer.alloc(0))).toEqual(properties);
    expect(encodeProperties({})).toBeUndefined();
  });

  it("travel without the properties that concern one connection", () => {
    const { properties, travelling } = read(0x26, 0, 1, 97, 0, 0, 0x02, 0, 0, 0, 9, 0x23, 0, 1, 0x01, 1);
    expect(properties).toMatchObject({ messageExpiry: 9, topicAlias: 1 });
    expect(decodeProperties(travelling ?? Buffer.alloc(0))).toEqual({ payloadFormat: 1, userProperties: [["a", ""]] });
  });

  it("are refused when they are truncated, unknown, repeated or impossible", () => {
    expect(refusal(0x26, 0, 1, 97)).toBe(ReasonCode.malformedPacket);
    expect(refusal(0x7f)).toBe(ReasonCode.malformedPacket);
    expect(refusal(0x01, 2)).toBe(ReasonCode.protocolError);
    expect(refusal(0x01, 1, 0x01, 1)).toBe(ReasonCode.protocolError);
    expect(refusal(0x21, 0, 0)).toBe(ReasonCode.protocolError);
    expect(refusal(0x08, 0, 1, 43)).toBe(ReasonCode.topicInvalid);
  });

  it("are refused when a text is not UTF-8 or contains U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2]", () => {
    expect(refusal(0x03, 0, 1, 0xff)).toBe(ReasonCode.malformedPacket);
    expect(refusal(0x03, 0, 3, 0xed, 0xa0, 0x80)).toBe(ReasonCode.malformedPacket);
    expect(refusal(0x03, 0, 1, 0)).toBe(ReasonCode.malformedPacket);
    expect(read(0x03, 0, 3, 0xef, 0xbf, 0xbd).properties.contentType).toBe("\uFFFD");
  });
});
