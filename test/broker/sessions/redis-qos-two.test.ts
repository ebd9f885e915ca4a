import type { Packet } from "mqtt-packet";
import { expect, it } from "vitest";
import { MqttWire } from "../../support/mqtt-wire.ts";
import { type BrokerUnderTest, inboxOf } from "../broker-under-test.ts";
import { nodes } from "../redis-nodes.ts";

const ID = 7;
const SEND_MOMENTS = ["sent", "accepted", "received", "released"] as const;
const DELIVERY_MOMENTS = ["publish", "pubrec", "pubrel", "pubcomp"] as const;

/** A client with a persistent session, which moves between nodes. */
class Client {
  readonly name: string;
  /** All packets of the current connection. */
  packets: Packet[] = [];
  #wire: MqttWire | undefined;
  readonly #password: string;

  constructor(name: string, password: string) {
    this.name = name;
    this.#password = password;
  }

  /** Resolves when the node has accepted the connection. Packets of an earlier connection do not arrive any more. */
  async connect(url: string): Promise<void> {
    this.packets = [];
    const wire: MqttWire = new MqttWire({
      ...{ port: Number(new URL(url).port), clientId: this.name, password: this.#password, clean: false },
      onPacket: (packet) => {
        if (wire !== this.#wire) return;
        this.packets.push(packet);
        this.take(packet);
      },
    });
    this.#wire = wire;
    await this.has("connack");
  }

  async has(cmd: Packet["cmd"]): Promise<void> {
    await expect.poll(() => this.packets.map((packet) => packet.cmd), { interval: 2 }).toContain(cmd);
  }

  send(packet: Packet): void {
    this.#wire?.send(packet);
  }

  cut(): void {
    this.#wire?.cut();
  }

  take(_: Packet): void {}
}

class Sender extends Client {
  publish(payload: string, dup = false): void {
    this.send({ cmd: "publish", topic: "sent", payload, qos: 2, messageId: ID, dup, retain: false });
  }

  async release(): Promise<void> {
    this.send({ cmd: "pubrel", messageId: ID });
    await this.has("pubcomp");
  }
}

class Receiver extends Client {
  readonly got: string[] = [];
  /** The message ids that the server has not released. */
  readonly #held = new Set<number>();
  /** The last packet of the exchange that this client receives or sends, before it stands still. */
  stopsAt: (typeof DELIVERY_MOMENTS)[number] | undefined;
  hasStopped = false;

  override take(packet: Packet): void {
    if (this.hasStopped) return;
    if (packet.cmd === "publish") {
      const { messageId = 0, payload } = packet;
      if (!this.#held.has(messageId)) this.got.push(String(payload));
      this.#held.add(messageId);
      if (!this.#stops("publish")) this.send({ cmd: "pubrec", messageId });
      this.#stops("pubrec");
    } else if (packet.cmd === "pubrel") {
      const { messageId = 0 } = packet;
      this.#held.delete(messageId);
      if (!this.#stops("pubrel")) this.send({ cmd: "pubcomp", messageId });
      this.#stops("pubcomp");
    }
  }

  goOn(): void {
    this.stopsAt = undefined;
    this.hasStopped = false;
  }

  #stops(moment: (typeof DELIVERY_MOMENTS)[number]): boolean {
    this.hasStopped ||= this.stopsAt === moment;
    return this.hasStopped;
  }
}

/** Each client stops at another moment of its exchange at the first node, and goes on at the second one. */
async function move(firstUrl: string, second: BrokerUnderTest, leaveFirst: () => Promise<void>): Promise<void> {
  const password = second.token(["admin"]);
  const witness = await second.client({ username: "witness", password });
  const inbox = inboxOf(witness);
  await witness.subscribeAsync("sent", { qos: 2 });

  const receivers = DELIVERY_MOMENTS.map((moment) => new Receiver(`receiver-${moment}`, password));
  for (const [index, receiver] of receivers.entries()) {
    await receiver.connect(firstUrl);
    receiver.stopsAt = DELIVERY_MOMENTS[index];
    receiver.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "delivered", qos: 2 }] });
    await receiver.has("suback");
  }
  await witness.publishAsync("delivered", "one", { qos: 2 });
  for (const receiver of receivers) await expect.poll(() => receiver.hasStopped, { interval: 2 }).toBe(true);

  const senders = SEND_MOMENTS.map((moment) => new Sender(moment, password));
  for (const sender of senders) await sender.connect(firstUrl);
  const [sent, accepted, received, released] = senders;
  for (const sender of [accepted, received, released]) sender?.publish(sender.name);
  for (const sender of [received, released]) await sender?.has("pubrec");
  await inbox.has(3);
  released?.send({ cmd: "pubrel", messageId: ID });
  sent?.publish(sent.name);
  await leaveFirst();

  for (const receiver of receivers) receiver.goOn();
  await Promise.all([...senders, ...receivers].map((client) => client.connect(second.url)));
  for (const sender of [sent, accepted]) {
    sender?.publish(sender.name, true);
    await sender?.has("pubrec");
  }
  for (const sender of senders) {
    await sender.release();
    sender.packets = [];
    sender.publish(`${sender.name} again`);
    await sender.has("pubrec");
    await sender.release();
  }
  await witness.publishAsync("sent", "end", { qos: 2 });
  const expected = [...SEND_MOMENTS, ...SEND_MOMENTS.map((moment) => `${moment} again`), "end"];
  expect((await inbox.has(expected.length)).map(({ payload }) => payload).sort()).toEqual(expected.sort());

  await witness.publishAsync("delivered", "two", { qos: 2 });
  for (const receiver of receivers) await expect.poll(() => receiver.got).toEqual(["one", "two"]);
  for (const client of [...senders, ...receivers]) client.cut();
}

it("clients that move to another node within an exchange of QoS 2 send and get each message once", async () => {
  const cluster = await nodes();
  const [first, second] = await Promise.all([cluster.start(), cluster.start()]);
  await move(first.url, second, async () => {});
});

it("clients whose node is killed within an exchange of QoS 2 send and get each message once at another node", async () => {
  const cluster = await nodes();
  const [first, second] = [await cluster.startProcess(), await cluster.start()];
  await move(first.url, second, first.kill);
});
