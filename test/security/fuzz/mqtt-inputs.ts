import fc, { type Arbitrary } from "fast-check";
import { connectPacket, idPacket, PINGREQ, packet, publishPacket, subscribePacket } from "../../broker/raw-client.ts";
import { anyConnect, field } from "../mqtt-program.ts";
import { frame, type UpgradeOptions, upgradeRequest } from "../raw-web-socket.ts";
import { hostileJson, hostileText, mutated, rawBytes } from "./mutations.ts";
import { framed } from "./web-socket-inputs.ts";

const ROOT = "skylapse/v1";
const id = fc.constantFrom(0, 1, 2, 65_535);

const envelope = hostileJson({
  v: 1,
  id: "01JAZ0000000000000000FUZZ0",
  timestamp: "2026-01-01T00:00:00Z",
  session: "s1",
  seq: 1,
  event: "capture.completed",
  data: { n: 1 },
});

const ownTopic = fc.constantFrom(
  ...[
    "events/capture.completed",
    "state/power",
    "alerts/cold",
    "about",
    "link",
    "previews/c1",
    "replies/capture.now",
  ].map((below) => `${ROOT}/cameras/fuzz/${below}`),
);
const topic = fc.oneof(
  { weight: 3, arbitrary: ownTopic },
  { weight: 1, arbitrary: hostileText.map((text) => `${ROOT}/${text}`) },
);
const filter = fc.oneof(
  fc.constantFrom(`${ROOT}/#`, `${ROOT}/cameras/fuzz/commands/+`, "#", "$SYS/#", `${ROOT}/+/+/#/x`),
  hostileText,
);

const publish = fc
  .record({ topic, payload: fc.oneof(envelope, hostileText), qos: fc.constantFrom<1 | 2>(1, 2), id })
  .map(publishPacket);
const subscribe = fc
  .tuple(fc.array(fc.tuple(filter, fc.constantFrom<0 | 1 | 2>(0, 1, 2)), { maxLength: 4 }), id)
  .map(([filters, packetId]) => subscribePacket(filters, packetId));
const unsubscribe = fc
  .tuple(fc.array(filter, { maxLength: 4 }), id)
  .map(([filters, packetId]) =>
    packet(0xa2, Buffer.concat([Buffer.from([packetId >> 8, packetId & 255]), ...filters.map(field)])),
  );
const acknowledgement = fc.tuple(fc.constantFrom(4, 5, 6, 7), id).map(([type, packetId]) => idPacket(type, packetId));

/** @param password a token, so that no input costs a password hash */
export function beforeConnect(password: string): Arbitrary<Buffer> {
  const connect = fc
    .record({
      clientId: fc.oneof(clientId, hostileText),
      username: fc.oneof(fc.constant("fuzz"), hostileText),
      password: fc.oneof(fc.constant(password), fc.constant("a.b.c"), hostileText),
      clean: fc.boolean(),
      keepalive: fc.constantFrom(0, 60, 65_535),
    })
    .map(connectPacket);
  const odd = fc
    .record({
      protocol: fc.constantFrom("MQTT", "MQIsdp", "__proto__"),
      level: fc.constantFrom(3, 4, 5, 0x84, 255),
      flags: fc.oneof(fc.constantFrom(0xc6, 0xce, 0xd6, 0xde, 0xf6, 0xfe), fc.nat(255)),
      clientId: clientId,
      will: fc.record({ topic, payload: fc.oneof(envelope, hostileText) }),
      username: fc.constant("fuzz"),
      password: fc.constant(password),
    })
    .map(anyConnect);
  return fc.oneof(rawBytes, connect, mutated(connect), mutated(connect), odd, publish, packets);
}

const clientId = fc.nat(31).map((number) => `fuzz-${number}`);

/** A valid CONNECT, and the bytes that follow its CONNACK. */
export function afterConnect(password: string): Arbitrary<{ connect: Buffer; bytes: Buffer }> {
  return fc.record({
    connect: fc
      .tuple(clientId, fc.boolean())
      .map(([name, clean]) => connectPacket({ clientId: name, username: "fuzz", password, clean })),
    bytes: packets,
  });
}

const whole = fc.oneof(
  publish,
  publish,
  subscribe,
  unsubscribe,
  acknowledgement,
  fc.constantFrom(PINGREQ, connectPacket({ clientId: "again", username: "u", password: "p" })),
);
const packets: Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      whole,
      mutated(whole),
      fc.tuple(fc.nat(255), rawBytes).map(([first, body]) => packet(first, body)),
      fc
        .tuple(fc.nat(255), rawBytes, fc.constantFrom(0, 127, 128, 300_000, 268_435_455))
        .map(([first, body, length]) => packet(first, body, length)),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((list) => Buffer.concat(list));

const OVER_WEB_SOCKET: UpgradeOptions = { path: "/", protocol: "mqtt" };
/** The upgrade request for MQTT over WebSocket. */
export const MQTT_UPGRADE = upgradeRequest(OVER_WEB_SOCKET);

/** MQTT bytes in a frame, as a client sends them. */
export function mqttFrame(bytes: Buffer): Buffer {
  return frame(bytes, { opcode: 2 });
}

/**
 * An upgrade request, followed by {@link beforeConnect} in WebSocket frames. The request and the frames may be invalid.
 */
export function beforeConnectInFrames(password: string): Arbitrary<Buffer> {
  const upgraded = framed(beforeConnect(password), 2).map((bytes) => Buffer.concat([MQTT_UPGRADE, bytes]));
  return fc.oneof(
    { weight: 1, arbitrary: rawBytes },
    { weight: 1, arbitrary: mutated(fc.constant(MQTT_UPGRADE)) },
    { weight: 4, arbitrary: upgraded },
  );
}

/** {@link afterConnect} in frames, which may be invalid. Only the frame of the CONNECT is always valid. */
export function afterConnectInFrames(password: string): Arbitrary<{ connect: Buffer; bytes: Buffer }> {
  return fc
    .tuple(afterConnect(password), framed(packets, 2))
    .map(([{ connect }, bytes]) => ({ connect: mqttFrame(connect), bytes }));
}
