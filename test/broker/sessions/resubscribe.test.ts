import type { Packet } from "mqtt-packet";
import { expect, it } from "vitest";
import { MqttWire } from "../../support/mqtt-wire.ts";
import { startTestBroker } from "../broker-under-test.ts";

const KINDS = [true, false].flatMap((clean) =>
  ([undefined, 0, 1] as const).flatMap((before) => ([0, 1] as const).map((qos) => ({ clean, before, qos }))),
);
const TIMES = 3;

const subscribe = (filter: string, qos: 0 | 1, messageId: number): Packet => ({
  ...{ cmd: "subscribe", messageId, subscriptions: [{ topic: filter, qos }] },
});
const unsubscribe = (filter: string, messageId: number): Packet => ({
  ...{ cmd: "unsubscribe", messageId, unsubscriptions: [filter] },
});

it("carries out UNSUBSCRIBE and SUBSCRIBE of the same filter in one write in their order", async () => {
  const test = await startTestBroker();
  const password = test.token(["admin"]);
  const publisher = await test.client({ username: "publisher", password, clientId: "publisher" });

  for (const { clean, before, qos } of KINDS) {
    const name = `${clean ? "clean" : "kept"}-${before}-${qos}`;
    const filter = `${name}/+`;
    const answers: string[] = [];
    let arrived: string[] = [];
    const wire = new MqttWire({
      port: Number(new URL(test.url).port),
      ...{ clientId: name, password, clean },
      onPacket: (packet) => {
        if (packet.cmd === "publish") {
          arrived.push(`${packet.topic} ${packet.qos}`);
          if (packet.qos === 1) wire.send({ cmd: "puback", messageId: packet.messageId ?? 0 });
        } else answers.push(`${packet.cmd} ${packet.messageId ?? ""}`);
      },
    });
    const answered = (answer: string) => expect.poll(() => answers.at(-1), { message: name, interval: 5 }).toBe(answer);
    const publish = async (topic: string) => {
      await publisher.publishAsync(topic, "0", { qos: 0 });
      await publisher.publishAsync(topic, "1", { qos: 1 });
    };
    await answered("connack ");
    if (before !== undefined) {
      wire.send(subscribe(filter, before, 1));
      await answered("suback 1");
    }
    for (let n = 1; n <= TIMES; n++) {
      wire.send(unsubscribe(filter, 2 * n), subscribe(filter, qos, 2 * n + 1));
      await answered(`suback ${2 * n + 1}`);
      await publish(`${name}/${n}`);
      await expect
        .poll(() => arrived.toSorted(), { message: name, interval: 5 })
        .toEqual([`${name}/${n} 0`, `${name}/${n} ${qos}`]);
      arrived = [];
    }
    wire.send(subscribe(filter, qos, 20), unsubscribe(filter, 21), subscribe("end", 0, 22));
    await expect.poll(() => answers.slice(-3).toSorted()).toEqual(["suback 20", "suback 22", "unsuback 21"]);
    await publish(`${name}/end`);
    await publisher.publishAsync("end", "0");
    await expect.poll(() => arrived, { message: name, interval: 5 }).toEqual(["end 0"]);
    wire.cut();
  }
});
