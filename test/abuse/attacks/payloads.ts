import { generate } from "mqtt-packet";
import sharp from "sharp";
import { topicTree } from "../../../contract/topics.ts";
import type { Attack } from "../attack.ts";
import { RawMqtt } from "../raw-mqtt.ts";
import type { Target } from "../server.ts";

export function openAbuser(target: Target, clientId: string): Promise<{ client: RawMqtt; code: number }> {
  return RawMqtt.open(target, { clientId, username: "abuser", password: target.secrets.abuser ?? "" });
}

export interface Publication {
  topic: string;
  payload: Buffer;
  retain?: boolean;
}

/** Keeps several QoS 1 publications in flight. Stops after the last publication or at the end of the connection. */
export async function publishInFlight(
  client: RawMqtt,
  inFlight: number,
  next: (index: number) => Publication | undefined,
): Promise<void> {
  let sent = 0;
  let acknowledged = 0;
  await new Promise<void>((resolve) => {
    const publish = () => {
      const publication = next(sent);
      if (publication === undefined) return acknowledged === sent && resolve();
      const { topic, payload, retain = false } = publication;
      const messageId = (sent++ % 65_535) + 1;
      client.write(generate({ cmd: "publish", topic, payload, retain, qos: 1, dup: false, messageId }));
      return undefined;
    };
    client.onPacket(({ cmd }) => {
      if (cmd !== "puback") return;
      acknowledged++;
      publish();
    });
    client.socket.once("close", () => resolve());
    for (let index = 0; index < inFlight; index++) publish();
  });
}

const tree = topicTree();

export function stateTopic(index: number): string {
  return tree.build({ kind: "camera-state", camera: "abuser", name: `s${index}` });
}

function paddedJson(bytes: number, index: number): Buffer {
  const envelope = (pad: string) => JSON.stringify({ v: 1, event: "state", data: { index, pad } });
  return Buffer.from(envelope("x".repeat(bytes - envelope("").length)));
}

export const retainedBytes: Attack = {
  name: "retained-bytes",
  resource: "memory for retained messages",
  method: "a camera publishes 1,000 retained states of 256 KiB, 20 in flight",
  fills: true,
  async abuse(target) {
    const { client } = await openAbuser(target, "camera-abuser");
    await publishInFlight(client, 20, (index) =>
      index < 1000 ? { topic: stateTopic(index), payload: paddedJson(262_144, index), retain: true } : undefined,
    );
  },
};

export const payloadBytes: Attack = {
  name: "payload-bytes",
  resource: "bytes a second through the broker",
  method: "a camera publishes one state of 200 KB again and again, 20 in flight",
  async abuse(target) {
    const { client } = await openAbuser(target, "camera-abuser");
    await publishInFlight(client, 20, (index) => ({
      topic: stateTopic(0),
      payload: paddedJson(200_000, index),
      retain: true,
    }));
  },
};

export const previews: Attack = {
  name: "previews",
  resource: "previews under way",
  method: "30 connections of one camera publish previews of 60 KB, 20 in flight each",
  async abuse(target) {
    const noise = Buffer.from(
      Array.from({ length: 240 * 160 * 3 }, (_, index) => (index * 7919 + (index >> 5) * 104_729) & 255),
    );
    const picture = await sharp(noise, { raw: { width: 240, height: 160, channels: 3 } })
      .jpeg({ quality: 90 })
      .toBuffer();
    const stamp = Date.now();
    const flood = async (connection: number) => {
      const { client } = await openAbuser(target, `abuser-${connection}`);
      await publishInFlight(client, 20, (index) => ({
        topic: tree.build({ kind: "camera-preview", camera: "abuser", capture: `c${stamp}-${connection}-${index}` }),
        payload: picture,
      }));
    };
    await Promise.all(Array.from({ length: 30 }, (_, connection) => flood(connection)));
  },
};
