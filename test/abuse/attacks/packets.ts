import { generate, type ISubscription } from "mqtt-packet";
import { topicTree } from "../../../contract/topics.ts";
import type { Attack } from "../attack.ts";
import { RawMqtt } from "../raw-mqtt.ts";
import { type Target, tokenOf } from "../server.ts";
import { openAbuser, publishInFlight, stateTopic } from "./payloads.ts";

const tree = topicTree();

function openReader(target: Target, ...permissions: string[]): Promise<{ client: RawMqtt; code: number }> {
  return RawMqtt.open(target, {
    clientId: "mallory",
    username: "mallory",
    password: tokenOf("mallory", ...permissions),
  });
}

/** Floods the server. After a closed connection, reconnects and floods again. */
async function insist(
  open: () => Promise<{ client: RawMqtt }>,
  flood: (client: RawMqtt) => Promise<void>,
): Promise<void> {
  for (;;) {
    const { client } = await open();
    await flood(client);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function subscribeTo(filters: readonly string[]): Buffer {
  const subscriptions: ISubscription[] = filters.map((topic) => ({ topic, qos: 1 }));
  return generate({ cmd: "subscribe", messageId: 1, subscriptions });
}

export const refusedFilters: Attack = {
  name: "refused-filters",
  resource: "the event loop: refused subscriptions",
  method: "a token without permissions sends SUBSCRIBEs of 40,000 filters each, as fast as they are read",
  async abuse(target) {
    const packet = subscribeTo(Array.from({ length: 40_000 }, (_, index) => `a/${index}`));
    await insist(
      () => openReader(target),
      (client) => client.flood(() => packet),
    );
  },
};

export const refusedPublications: Attack = {
  name: "refused-publications",
  resource: "the event loop: refused publications",
  method: "a camera publishes to another camera's topic, 200 in flight",
  async abuse(target) {
    const topic = tree.build({ kind: "camera-event", camera: "honest", event: "capture.completed" });
    const payload = Buffer.from("{}");
    await insist(
      () => openAbuser(target, "camera-abuser"),
      (client) => publishInFlight(client, 200, () => ({ topic, payload })),
    );
  },
};

export const controlPackets: Attack = {
  name: "control-packets",
  resource: "the event loop: packets that are no publication",
  method: "three connections send PINGREQ, PUBREL and UNSUBSCRIBE, 500 a write, as fast as they are read",
  async abuse(target) {
    const times = (packet: Buffer) => Buffer.concat(Array.from({ length: 500 }, () => packet));
    const packets = [
      generate({ cmd: "pingreq" }),
      generate({ cmd: "pubrel", messageId: 7 }),
      generate({ cmd: "unsubscribe", messageId: 7, unsubscriptions: ["a/b"] }),
    ].map(times);
    await Promise.all(
      packets.map((bytes, index) => {
        const login = { clientId: `mallory-${index}`, username: "mallory", password: tokenOf("mallory") };
        return insist(
          () => RawMqtt.open(target, login),
          (client) => client.flood(() => bytes),
        );
      }),
    );
  },
};

export const retainedReread: Attack = {
  name: "retained-reread",
  resource: "the event loop: retained messages sent again",
  method: "a token that may read subscribes again and again to a filter that brings back 192 KB of retained messages",
  async prepare(target) {
    const { client } = await openAbuser(target, "camera-abuser");
    const payload = Buffer.from(JSON.stringify({ v: 1, event: "state", data: { pad: "x".repeat(900) } }));
    await publishInFlight(client, 20, (index) =>
      index < 200 ? { topic: stateTopic(index), payload, retain: true } : undefined,
    );
    client.end();
  },
  async abuse(target) {
    const packet = subscribeTo([`${tree.root}/cameras/abuser/state/+`]);
    await insist(
      () => openReader(target, "dashboard:read"),
      (client) => client.flood(() => packet),
    );
  },
};

export const acknowledgementBursts: Attack = {
  name: "acknowledgement-bursts",
  resource: "the event loop: acknowledgements, which no rate limits",
  method: "100 persistent sessions of one user read all events and acknowledge 64 at a time, all in the same moment",
  async abuse(target) {
    const held = new Map<RawMqtt, Buffer[]>();
    let count = 0;
    const acknowledgeAll = () => {
      count = 0;
      for (const [client, packets] of held) client.write(Buffer.concat(packets.splice(0)));
    };
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const password = tokenOf("mallory", "dashboard:read");
        const { client } = await RawMqtt.open(target, {
          ...{ clientId: `mallory-${index}`, username: "mallory", password, clean: false },
        });
        const packets: Buffer[] = [];
        held.set(client, packets);
        client.onPacket((packet) => {
          if (packet.cmd !== "publish" || packet.messageId === undefined) return;
          packets.push(generate({ cmd: "puback", messageId: packet.messageId }));
          if (++count === 64 * held.size) acknowledgeAll();
        });
        client.write(subscribeTo([`${tree.root}/cameras/+/events/#`]));
      }),
    );
    await new Promise(() => {});
  },
};
