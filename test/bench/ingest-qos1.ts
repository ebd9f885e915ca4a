import { WARM_UP_SECONDS } from "./fan-out.ts";
import type { Generator } from "./load/generator.ts";
import { type BenchOptions, costOf, onServer, type Row, type Sample, sleep } from "./row.ts";
import { startMosquitto } from "./servers/mosquitto.ts";
import { type MqttServer, ofMqtt5 } from "./servers/server.ts";
import { benchTopic, startSkylapse } from "./servers/skylapse.ts";

export const PUBLISHERS = 10;
export const IN_FLIGHT = 20;
export const PAYLOAD_BYTES = 400;

export const ingestQos1: Row = {
  name: "ingest-qos1",
  title: "QoS 1 in: 10 publishers with 20 messages in flight each, no subscriber",
  method: ({ seconds }) =>
    `Payloads of ${PAYLOAD_BYTES} B for ${seconds} s, every one acknowledged. Ours acknowledges what is on disk (fsync) and\n` +
    "checks who may write where; Mosquitto keeps everything in memory and asks nobody for a name.",
  figures: [
    { key: "perSecond", label: "acknowledged messages per second", unit: "/s", target: { ratioAtLeast: 1 } },
    { key: "cpuMicros", label: "server CPU per message", unit: "µs" },
    { key: "serverLoad", label: "server CPU", unit: "%" },
    { key: "generatorMicros", label: "load generator CPU per message", unit: "µs" },
  ],
  sides: (options) => [
    { name: "Skylapse", measure: () => measure(() => startSkylapse(options), options) },
    { name: "Mosquitto", measure: () => measure(startMosquitto, options) },
  ],
};

export const ingestMqtt5: Row = {
  name: "ingest-mqtt5",
  title: "QoS 1 in, by clients of MQTT 5 and of MQTT 3.1.1",
  method: ({ seconds }) => `As \`ingest-qos1\`: ${PAYLOAD_BYTES} B, ${seconds} s.`,
  figures: [
    { key: "perSecond", label: "acknowledged messages per second", unit: "/s", target: { ratioAtLeast: 0.9 } },
    { key: "cpuMicros", label: "server CPU per message", unit: "µs" },
    { key: "serverLoad", label: "server CPU", unit: "%" },
  ],
  sides: (options) => [
    {
      name: "MQTT 5",
      measure: () =>
        measure(
          ofMqtt5(() => startSkylapse(options)),
          options,
        ),
    },
    { name: "MQTT 3.1.1", measure: () => measure(() => startSkylapse(options), options) },
  ],
};

export const ingestArchive: Row = {
  name: "ingest-archive",
  title: "QoS 1 in, with and without the archive",
  method: ({ seconds }) =>
    `As \`ingest-qos1\`: ${PAYLOAD_BYTES} B, ${seconds} s. The archive is in SQLite. It catches up when the flood ends.`,
  figures: [
    { key: "perSecond", label: "acknowledged messages per second", unit: "/s", target: { ratioAtLeast: 0.95 } },
    { key: "cpuMicros", label: "server CPU per message", unit: "µs" },
    { key: "serverLoad", label: "server CPU", unit: "%" },
  ],
  sides: (options) =>
    ["on", "off"].map((archive) => ({
      name: `archive ${archive}`,
      measure: () => measure(() => startWithArchive(archive, options), options),
    })),
};

/** Also waits until the archive's thread has loaded, which takes some seconds. */
async function startWithArchive(archive: string, options: BenchOptions): Promise<MqttServer> {
  const server = await startSkylapse({ ...options, env: { ARCHIVE: archive } });
  await sleep(5);
  return server;
}

function measure(start: () => Promise<MqttServer>, options: BenchOptions): Promise<Sample> {
  return onServer(
    start,
    async (server, newGenerator) => (await ingestCost(server, await newGenerator(), options)).sample,
  );
}

/**
 * @param redisCpuSeconds CPU time of the store, if it is a separate process
 * @param inFlight unacknowledged messages of each publisher
 */
export async function ingestCost(
  server: MqttServer,
  generator: Generator,
  { seconds }: Pick<BenchOptions, "seconds">,
  redisCpuSeconds = () => 0,
  { payloadBytes, inFlight } = { payloadBytes: PAYLOAD_BYTES, inFlight: IN_FLIGHT },
): Promise<{ messages: number; redisSeconds: number; sample: Sample }> {
  await generator.call("startIngest", {
    inFlight,
    publishers: Array.from({ length: PUBLISHERS }, (_, index) => ({
      ...server.login(`bench-${index}`),
      port: server.mqttPort,
      topic: benchTopic(`bench-${index}`),
      payloadBytes,
    })),
  });
  await sleep(WARM_UP_SECONDS);
  const redisBefore = redisCpuSeconds();
  const { result, serverSeconds, generatorSeconds } = await costOf(server, generator, async () => {
    const before = await generator.call("acknowledged");
    await sleep(seconds);
    const after = await generator.call("acknowledged");
    return { messages: after.count - before.count, seconds: (after.micros - before.micros) / 1e6 };
  });
  const redisSeconds = redisCpuSeconds() - redisBefore;
  await generator.call("stopIngest");
  return {
    messages: result.messages,
    redisSeconds,
    sample: {
      perSecond: result.messages / result.seconds,
      cpuMicros: (serverSeconds / result.messages) * 1e6,
      serverLoad: (serverSeconds / result.seconds) * 100,
      generatorMicros: (generatorSeconds / result.messages) * 1e6,
    },
  };
}
