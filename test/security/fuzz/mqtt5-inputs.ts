import fc, { type Arbitrary } from "fast-check";
import { generate, type Packet } from "mqtt-packet";
import { packet } from "../../broker/raw-client.ts";
import { hostileText, mutated, rawBytes } from "./mutations.ts";

const ROOT = "skylapse/v1";
const messageId = fc.constantFrom(1, 2, 65_535);
const qos = fc.constantFrom<0 | 1 | 2>(0, 1, 2);
const topic = fc.oneof(
  fc.constantFrom(
    ...["events/capture.completed", "state/power", "about"].map((below) => `${ROOT}/cameras/fuzz/${below}`),
  ),
  hostileText,
);
const filter = fc.oneof(
  fc.constantFrom(`${ROOT}/#`, `${ROOT}/cameras/fuzz/commands/+`, "#", "$share/fuzz/#", "$share//#", "$share"),
  hostileText,
);
const bytes = fc.uint8Array({ maxLength: 20 }).map((list) => Buffer.from(list));
const userProperties = fc
  .array(fc.tuple(fc.constantFrom("a", "b", "constructor"), hostileText), { minLength: 1, maxLength: 3 })
  .map((pairs) => Object.fromEntries(pairs));
const seconds = fc.constantFrom(0, 1, 3600, 0xffff_ffff);

/** Only some of the properties. */
function some<Properties>(properties: { [Name in keyof Properties]: Arbitrary<Properties[Name]> }) {
  return fc.record(properties, { requiredKeys: [] });
}

const messageProperties = {
  payloadFormatIndicator: fc.boolean(),
  messageExpiryInterval: seconds,
  contentType: hostileText,
  responseTopic: hostileText,
  correlationData: bytes,
  userProperties,
};

/** @returns the bytes; none for what the encoder refuses */
function encoded(one: Packet): Buffer {
  try {
    return generate(one, { protocolVersion: 5 });
  } catch {
    return Buffer.alloc(0);
  }
}

const publish = fc
  .record({
    ...{
      topic: fc.oneof(topic, fc.constant("")),
      payload: bytes,
      qos,
      messageId,
      retain: fc.boolean(),
      dup: fc.boolean(),
    },
    properties: some({ ...messageProperties, topicAlias: fc.constantFrom(0, 1, 2, 64, 65) }),
  })
  .map((fields) => encoded({ cmd: "publish", ...fields }));
const subscribe = fc
  .record({
    messageId,
    subscriptions: fc.array(
      fc.record({ topic: filter, qos, nl: fc.boolean(), rap: fc.boolean(), rh: fc.constantFrom(0, 1, 2) }),
      { minLength: 1, maxLength: 3 },
    ),
    properties: some({ subscriptionIdentifier: fc.constantFrom(1, 268_435_455), userProperties }),
  })
  .map((fields) => encoded({ cmd: "subscribe", ...fields }));
const unsubscribe = fc
  .record({ messageId, unsubscriptions: fc.array(filter, { minLength: 1, maxLength: 3 }) })
  .map((fields) => encoded({ cmd: "unsubscribe", ...fields }));
const acknowledgement = fc
  .record({
    cmd: fc.constantFrom("puback", "pubrec", "pubrel", "pubcomp"),
    messageId,
    reasonCode: fc.constantFrom(0, 0x10, 0x80, 0x92),
    properties: some({ reasonString: hostileText, userProperties }),
  })
  .map((fields) => encoded(fields));
const disconnect = fc
  .record({
    reasonCode: fc.constantFrom(0, 4, 0x80),
    properties: some({ sessionExpiryInterval: seconds, userProperties }),
  })
  .map((fields) => encoded({ cmd: "disconnect", ...fields }));

const whole = fc.oneof(publish, publish, publish, subscribe, unsubscribe, acknowledgement, disconnect);
const packets: Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      whole,
      mutated(whole),
      mutated(whole),
      fc.tuple(fc.nat(255), rawBytes).map(([first, body]) => packet(first, body)),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((list) => Buffer.concat(list));

/** @param password a token, so that no input costs a password hash */
function connect(password: string): Arbitrary<Buffer> {
  return fc
    .record({
      clientId: fc.nat(31).map((number) => `fuzz5-${number}`),
      clean: fc.boolean(),
      keepalive: fc.constantFrom(0, 60, 65_535),
      properties: some({
        sessionExpiryInterval: seconds,
        receiveMaximum: fc.constantFrom(1, 10, 65_535),
        maximumPacketSize: fc.constantFrom(64, 1000, 0xffff_ffff),
        topicAliasMaximum: fc.constantFrom(0, 1, 65_535),
        requestProblemInformation: fc.boolean(),
        userProperties,
      }),
      will: fc.option(
        fc.record({
          ...{ topic: fc.constant(`${ROOT}/cameras/fuzz/link`), payload: bytes, qos, retain: fc.boolean() },
          properties: some({ ...messageProperties, willDelayInterval: fc.constantFrom(0, 1, 0xffff_ffff) }),
        }),
        { nil: undefined },
      ),
    })
    .map(({ will, ...fields }) =>
      encoded({
        ...{
          cmd: "connect",
          protocolId: "MQTT",
          protocolVersion: 5,
          username: "fuzz",
          password: Buffer.from(password),
        },
        ...fields,
        ...(will === undefined ? {} : { will }),
      }),
    )
    .filter(({ length }) => length > 0);
}

/** The first bytes of a connection of MQTT 5. */
export function beforeConnect5(password: string): Arbitrary<Buffer> {
  const valid = connect(password);
  return fc.oneof(
    valid,
    mutated(valid),
    mutated(valid),
    fc.tuple(valid, packets).map((parts) => Buffer.concat(parts)),
  );
}

/** A valid CONNECT of MQTT 5, and the bytes that follow its CONNACK. */
export function afterConnect5(password: string): Arbitrary<{ connect: Buffer; bytes: Buffer }> {
  return fc.record({ connect: connect(password), bytes: packets });
}
