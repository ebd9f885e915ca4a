import type { IPublishPacket, Packet } from "mqtt-packet";
import { afterEach, expect, it } from "vitest";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { MqttWire } from "../support/mqtt-wire.ts";
import { startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

/** The short form. `npm run test:long` tries each kind 1,000 times. */
const TIMES = LONG ? 1_000 : 6;

/** A server on a very busy machine refuses clients when its store does not answer in time. Such clients try again. */
const MAX_ENDED = LONG ? 200 : 5;

interface Kind {
  clean: boolean;
  granted: 0 | 1 | 2;
  /** Of the messages. */
  qos: 0 | 1 | 2;
  isOutside: boolean;
}

const QOS = [
  [1, 1],
  [2, 2],
  [0, 0],
  [0, 1],
  [1, 0],
] as const;
const KINDS: readonly Kind[] = [true, false].flatMap((clean) =>
  QOS.flatMap(([granted, qos]) => [true, false].map((isOutside) => ({ clean, granted, qos, isOutside }))),
);

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it.each(["LevelDB", "Redis"])(
  "delivers a message that arrives together with the SUBSCRIBE before it, on %s",
  {
    timeout: TIMEOUT_MS,
  },
  async (store) => {
    const dataPath = makeDataPath();
    cleanUps.push(() => removeDataPath(dataPath));
    const env: Record<string, string> = {
      JWT_SECRET,
      LOG_LEVEL: "warn",
      MAX_MQTT_SESSIONS_PER_USER: "0",
      MAX_MQTT_USER_CONNECTS_PER_MINUTE: "0",
      MAX_MQTT_CONNECTS_PER_MINUTE: "0",
    };
    if (store === "Redis") {
      const redis = await startRedis();
      cleanUps.push(() => redis.remove());
      env.REDIS_URL = redis.url;
    }
    const skylapse = await startSkylapse({ dataPath, env });
    cleanUps.push(() => skylapse.end());
    const port = Number(new URL(skylapse.mqtt).port);

    let ended = 0;
    const missed = await Promise.all(
      KINDS.map(async (kind) => {
        let count = 0;
        for (let n = 1, completed = 0; completed < TIMES; n++) {
          const arrived = await subscribeAndPublish(port, kind, n);
          if (arrived === undefined) {
            if (++ended > MAX_ENDED) throw new Error(`${ended} connections ended\n${skylapse.output()}`);
            continue;
          }
          completed++;
          if (arrived !== "first second") count++;
        }
        return { ...kind, count };
      }),
    );
    if (ended > 0) process.stdout.write(`${ended} connections ended\n${skylapse.output()}`);
    expect(missed).toEqual(KINDS.map((kind) => ({ ...kind, count: 0 })));
  },
);

/**
 * Sends SUBSCRIBE and a message in one write, and a second message after both are acknowledged.
 * @returns what arrived until the second message; undefined when the connection ended before
 */
async function subscribeAndPublish(
  port: number,
  { clean, granted, qos, isOutside }: Kind,
  n: number,
): Promise<string | undefined> {
  const name = `${isOutside ? "outside" : "inside"}-${clean ? "clean" : "kept"}-${granted}-${qos}`;
  const topic = isOutside ? `outside/${name}/${n}` : `skylapse/v1/cameras/${name}-${n}/events/capture.completed`;
  const publish = (text: string, messageId: number): Packet => {
    const event = "capture.completed";
    const timestamp = new Date().toISOString();
    const envelope = { v: 1, id: `${n}-${text}`, timestamp, session: `${n}`, seq: messageId, event, data: { text } };
    return { cmd: "publish", topic, payload: JSON.stringify(envelope), qos, messageId, dup: false, retain: false };
  };
  const arrived: string[] = [];
  const held = new Set<number>();
  const answersToMessage = qos === 0 ? 0 : 1;
  /** Of SUBSCRIBE and both messages. */
  let completed = 0;

  return new Promise((resolve) => {
    const arrive = ({ topic: of, payload }: IPublishPacket) => {
      const { data }: { data: { text: string } } = JSON.parse(String(payload));
      if (of === topic) arrived.push(data.text);
    };
    const complete = () => {
      if (++completed === 1 + answersToMessage) wire.send(publish("second", 2));
    };
    const wire = new MqttWire({
      port,
      // A kept session is used again: it also has the filters of the times before.
      clientId: `${name}-${Math.floor(n / 20)}`,
      password: signToken(name, ["admin"]),
      clean,
      onClose: () => resolve(undefined),
      onPacket: (packet) => {
        const { messageId = 0 } = packet;
        if (packet.cmd === "connack" && packet.returnCode === 0) {
          const subscriptions = [{ topic, qos: granted }];
          wire.send({ cmd: "subscribe", messageId: 1, subscriptions }, publish("first", 1));
        } else if (packet.cmd === "suback" || packet.cmd === "puback" || packet.cmd === "pubcomp") complete();
        else if (packet.cmd === "pubrec") wire.send({ cmd: "pubrel", messageId });
        else if (packet.cmd === "publish" && packet.qos === 2) {
          if (!held.has(messageId)) arrive(packet);
          held.add(messageId);
          wire.send({ cmd: "pubrec", messageId });
        } else if (packet.cmd === "publish") {
          arrive(packet);
          if (packet.qos === 1) wire.send({ cmd: "puback", messageId });
        } else if (packet.cmd === "pubrel") {
          held.delete(messageId);
          wire.send({ cmd: "pubcomp", messageId });
        }
        if (completed < 1 + 2 * answersToMessage || held.size > 0 || !arrived.includes("second")) return;
        resolve(arrived.join(" "));
        wire.disconnect();
      },
    });
  });
}
