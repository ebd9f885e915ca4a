import { perDelivery, WARM_UP_SECONDS } from "./fan-out.ts";
import { FIRST_NUMBER } from "./load/event.ts";
import type { Generator } from "./load/generator.ts";
import type { SubscribersOptions } from "./load/subscribers.ts";
import { type BenchOptions, costOf, type Figure, onServer, type Row, type Sample } from "./row.ts";
import { startMosquitto } from "./servers/mosquitto.ts";
import { type MqttServer, ofMqtt5 } from "./servers/server.ts";
import { benchTopic, startSkylapse } from "./servers/skylapse.ts";

const SUBSCRIBERS = 100;
const PAYLOAD_BYTES = 400;
/** Events in flight: enough to keep a server busy, and far below the limits at which the servers drop messages. */
const WINDOW = 20;
const QOS = [0, 1] as const;

export const mqttFanOut: Row = {
  name: "mqtt-fan-out",
  title: "one MQTT publisher to 100 MQTT subscribers",
  method: ({ seconds }) =>
    `Payloads of ${PAYLOAD_BYTES} B, published and subscribed with the same QoS, at most ${WINDOW} events under way, ${seconds} s each.\n` +
    "Ours has every event in its journal on disk first, and checks at each delivery that the subscriber may read it.",
  figures: figures(),
  sides: (options) => [
    { name: "Skylapse", measure: () => measure(() => startSkylapse(options), options) },
    { name: "Mosquitto", measure: () => measure(startMosquitto, options) },
  ],
};

export const mqtt5FanOut: Row = {
  ...mqttFanOut,
  name: "mqtt5-fan-out",
  title: "one MQTT 5 publisher to 100 MQTT 5 subscribers",
  sides: (options) => [
    {
      name: "Skylapse",
      measure: () =>
        measure(
          ofMqtt5(() => startSkylapse(options)),
          options,
        ),
    },
    { name: "Mosquitto", measure: () => measure(ofMqtt5(startMosquitto), options) },
  ],
};

function figures(): Figure[] {
  return QOS.flatMap((qos): Figure[] => [
    { key: `qos${qos}PerSecond`, label: `QoS ${qos}: deliveries per second`, unit: "/s", target: { ratioAtLeast: 1 } },
    { key: `qos${qos}CpuMicros`, label: `QoS ${qos}: server CPU per delivery`, unit: "µs" },
    { key: `qos${qos}ServerLoad`, label: `QoS ${qos}: server CPU`, unit: "%" },
    { key: `qos${qos}GeneratorMicros`, label: `QoS ${qos}: load generator CPU per delivery`, unit: "µs" },
  ]);
}

function measure(start: () => Promise<MqttServer>, options: BenchOptions): Promise<Sample> {
  return onServer(start, async (server, newGenerator) => {
    const sample: Record<string, number> = {};
    for (const qos of QOS) {
      const generator = await newGenerator();
      const logins = Array.from({ length: SUBSCRIBERS }, (_, index) => server.login(`reader-${qos}-${index}`));
      const { cpuMicros, perSecond, serverLoad, generatorMicros } = await costOfStream(
        server,
        generator,
        { qos, logins },
        options,
      );
      sample[`qos${qos}PerSecond`] = perSecond ?? Number.NaN;
      sample[`qos${qos}CpuMicros`] = cpuMicros ?? Number.NaN;
      sample[`qos${qos}ServerLoad`] = serverLoad ?? Number.NaN;
      sample[`qos${qos}GeneratorMicros`] = generatorMicros ?? Number.NaN;
      await generator.stop();
    }
    return sample;
  });
}

/**
 * The cost of a delivery to the subscribers.
 * @param redisCpuSeconds CPU time of the store, if it is a separate process
 */
export async function costOfStream(
  server: MqttServer,
  generator: Generator,
  { qos, logins }: Pick<SubscribersOptions, "qos" | "logins">,
  { seconds }: BenchOptions,
  redisCpuSeconds = () => 0,
): Promise<Sample> {
  const { mqttPort: port } = server;
  await generator.call("openSubscribers", {
    port,
    filter: benchTopic(),
    qos,
    logins,
    first: FIRST_NUMBER,
  });
  const publisher = server.login(`writer-${qos}`);
  await generator.call("openFeed", {
    kind: "mqtt",
    port,
    topic: benchTopic(),
    qos,
    payloadBytes: PAYLOAD_BYTES,
    ...publisher,
  });
  const stream = { size: WINDOW / 5, window: WINDOW };
  await generator.call("publishBursts", { ...stream, seconds: WARM_UP_SECONDS });
  const redisBefore = redisCpuSeconds();
  const cost = await costOf(server, generator, () => generator.call("publishBursts", { ...stream, seconds }));
  const redisMicros = ((redisCpuSeconds() - redisBefore) / cost.result.deliveries) * 1e6;
  return { ...perDelivery(cost), redisMicros };
}
