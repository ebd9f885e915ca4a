import { spawn } from "node:child_process";
import { once } from "node:events";
import { MqttClient } from "mqtt";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import websocketStream from "websocket-stream";
import { PYTHON } from "../support/programs.ts";
import {
  type BrokerUnderTest,
  connected,
  inboxOf,
  NORTH,
  SECRET,
  startTestBroker,
  topic,
} from "./broker-under-test.ts";

const EVENT = topic("cameras/north/events/capture.completed");

/** Runs a program to its end. */
async function run(
  command: string,
  args: readonly string[],
  input = "",
): Promise<{ code: number | null; output: string; errors: string }> {
  const child = spawn(command, args);
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  child.stdin.end(input);
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  await once(child, "close");
  return { code: child.exitCode, output, errors };
}

/** A subscribed mosquitto_sub. `ended` resolves to the output lines after `count` messages. */
async function mosquittoSub(
  test: BrokerUnderTest,
  args: readonly string[],
  count: number,
): Promise<{ ended: Promise<string[]> }> {
  const user = ["-u", "reader", "-P", test.token(["dashboard:read"])];
  const ended = run("mosquitto_sub", [...at(test), ...user, "-C", String(count), "-F", "%q %r %t %p", ...args]);
  await vi.waitFor(() => expect(test.broker.clients().some(({ filters }) => filters.size > 0)).toBe(true));
  return { ended: ended.then(({ output }) => output.trim().split("\n")) };
}

function at({ broker }: BrokerUnderTest): string[] {
  return ["-h", "127.0.0.1", "-p", String(broker.ports.mqtt)];
}

describe("mosquitto_pub and mosquitto_sub", () => {
  it.each([
    ["mqttv31", 0],
    ["mqttv31", 1],
    ["mqttv31", 2],
    ["mqttv311", 0],
    ["mqttv311", 1],
    ["mqttv311", 2],
    ["mqttv5", 0],
    ["mqttv5", 1],
    ["mqttv5", 2],
  ])("exchange messages over %s at QoS %i", async (version, qos) => {
    const test = await startTestBroker();
    const { ended } = await mosquittoSub(test, ["-V", version, "-q", String(qos), "-t", topic("cameras/north/#")], 2);
    const lines = await run(
      "mosquitto_pub",
      [...at(test), "-V", version, "-q", String(qos), "-t", EVENT, "-u", "north", "-P", SECRET, "-l"],
      "first\nsecond\n",
    );
    expect(lines).toMatchObject({ code: 0, errors: "" });
    expect(await ended).toEqual([`${qos} 0 ${EVENT} first`, `${qos} 0 ${EVENT} second`]);
  });

  it("deliver a retained message to a later subscriber", async () => {
    const test = await startTestBroker();
    const about = topic("cameras/north/about");
    await run("mosquitto_pub", [...at(test), "-q", "1", "-r", "-t", about, "-m", "kept", "-u", "north", "-P", SECRET]);
    const user = ["-u", "reader", "-P", test.token(["dashboard:read"])];
    const filter = ["-q", "1", "-t", topic("cameras/+/about"), "-C", "1", "-F", "%q %r %t %p"];
    expect((await run("mosquitto_sub", [...at(test), ...user, ...filter])).output).toBe(`1 1 ${about} kept\n`);
  });
});

describe("Python's paho", () => {
  it.each([0, 1, 2])("publishes and receives at QoS %i, and leaves a will", async (qos) => {
    const test = await startTestBroker();
    const script = `
import sys, paho.mqtt.client as mqtt
port, secret, token, qos = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
seen = []
link, event = "${topic("cameras/north/link")}", "${EVENT}"
reader = mqtt.Client()
reader.username_pw_set("reader", token)
camera = mqtt.Client(client_id="paho-camera", clean_session=False)
camera.username_pw_set("north", secret)
camera.will_set(link, "gone", qos=1, retain=True)
def on_subscribe(client, userdata, mid, granted):
    camera.connect("127.0.0.1", port)
    camera.loop_start()
    camera.publish(event, "picture", qos=qos).wait_for_publish()
    camera.loop_stop()
    camera._sock.close()
def on_message(client, userdata, message):
    print(message.qos, message.topic, message.payload.decode(), flush=True)
    # At QoS 2 a message is given out when its exchange is over, which may be after a later one of QoS 1.
    seen.append(message.topic)
    if len(seen) == 2: client.disconnect()
reader.on_connect = lambda client, *rest: client.subscribe("${topic("cameras/north/#")}", qos)
reader.on_subscribe, reader.on_message = on_subscribe, on_message
reader.connect("127.0.0.1", port)
reader.loop_forever()
`;
    const { broker, token } = test;
    const args = ["-c", script, String(broker.ports.mqtt), SECRET, token(["dashboard:read"]), String(qos)];
    const { output, errors } = await run(PYTHON, args);
    expect(errors).toBe("");
    expect(output.trim().split("\n").sort()).toEqual(
      [`${qos} ${EVENT} picture`, `${Math.min(qos, 1)} ${topic("cameras/north/link")} gone`].sort(),
    );
    expect(test.ingest.accepted.map(({ identity }) => identity)).toEqual(["device:north", "device:north"]);
  });

  it("speaks MQTT 5, with properties in their order", async () => {
    const test = await startTestBroker();
    const script = `
import sys, paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions
port, secret, token = int(sys.argv[1]), sys.argv[2], sys.argv[3]
event = "${EVENT}"
reader = mqtt.Client(client_id="", protocol=mqtt.MQTTv5)
reader.username_pw_set("reader", token)
camera = mqtt.Client(client_id="paho-camera", protocol=mqtt.MQTTv5)
camera.username_pw_set("north", secret)
def on_subscribe(client, userdata, mid, granted, properties):
    session, sent = Properties(PacketTypes.CONNECT), Properties(PacketTypes.PUBLISH)
    session.SessionExpiryInterval = 60
    sent.ContentType = "image/jpeg"
    sent.UserProperty = [("b", "1"), ("a", "2")]
    camera.connect("127.0.0.1", port, clean_start=mqtt.MQTT_CLEAN_START_FIRST_ONLY, properties=session)
    camera.loop_start()
    camera.publish(event, "picture", qos=2, properties=sent).wait_for_publish()
    camera.disconnect()
def on_message(client, userdata, message):
    properties = message.properties
    print(message.payload.decode(), properties.ContentType, properties.UserProperty, flush=True)
    client.disconnect()
def on_connect(client, userdata, flags, reason, properties):
    print(reason.getName(), properties.ReceiveMaximum, properties.AssignedClientIdentifier[:5], flush=True)
    client.subscribe(event, options=SubscribeOptions(qos=2))
reader.on_connect, reader.on_subscribe, reader.on_message = on_connect, on_subscribe, on_message
reader.connect("127.0.0.1", port)
reader.loop_forever()
`;
    const args = ["-c", script, String(test.broker.ports.mqtt), SECRET, test.token(["dashboard:read"])];
    const { output, errors } = await run(PYTHON, args);
    expect(errors).toBe("");
    expect(output).toBe("Success 1000 auto-\npicture image/jpeg [('b', '1'), ('a', '2')]\n");
  });
});

describe("MQTT.js", () => {
  it.each([
    ["MQTT", 4, "mqtt"],
    ["MQIsdp", 3, "mqtt"],
    ["MQTT", 4, "ws"],
    ["MQIsdp", 3, "ws"],
    ["MQTT", 5, "mqtt"],
    ["MQTT", 5, "ws"],
  ] as const)("exchanges messages with %s %i over %s", async (protocolId, protocolVersion, transport) => {
    const test = await startTestBroker();
    const version = { protocolId, protocolVersion, url: transport === "ws" ? test.webSocketUrl : test.url };
    const reader = await test.client({ ...version, password: test.token(["dashboard:read"]), username: "reader" });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topic("cameras/#"), { qos: 2 });
    const camera = await test.client({ ...version, ...NORTH });
    for (const qos of [0, 1, 2] as const) await camera.publishAsync(EVENT, `at ${qos}`, { qos });
    expect((await inbox.has(3)).map(({ payload, qos }) => [payload, qos])).toEqual([
      ["at 0", 0],
      ["at 1", 1],
      ["at 2", 2],
    ]);
  });
});

describe("websocket-stream, which older clients use", () => {
  it.each([0, 1, 2] as const)("carries MQTT at QoS %i", async (qos) => {
    const test = await startTestBroker();
    const legacy = (options: object) =>
      connected(new MqttClient(() => websocketStream(test.webSocketUrl, "mqtt"), { reconnectPeriod: 0, ...options }));
    const reader = await legacy({ username: "reader", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topic("cameras/#"), { qos });
    const camera = await legacy(NORTH);
    const picture = "x".repeat(60_000);
    await camera.publishAsync(EVENT, picture, { qos });
    expect(await inbox.has(1)).toMatchObject([{ payload: picture, qos }]);
  });
});
