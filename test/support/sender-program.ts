import { pino } from "pino";
import { topicTree } from "../../contract/topics.ts";
import { DeviceClock } from "../../device/host/clock.ts";
import { Sender } from "../../device/link/sender.ts";
import { openDiskOutbox } from "../../device/outbox/disk-outbox.ts";

/**
 * A camera that stores numbered events as fast as its disk allows, then sends the rest until it is killed:
 * `sender-program <broker> <secret> <outbox> <run> <count>`. It prints each number once the event is stored.
 */
const [brokerUrl = "", secret = "", path = "", run = "", count = "0"] = process.argv.slice(2);
const logger = pino({ level: "silent" });
const clock = new DeviceClock();
const outbox = await openDiskOutbox({ path, clock, logger });
const sender = new Sender({
  brokerUrl,
  tree: topicTree(),
  owner: { kind: "camera", id: "north" },
  secret,
  outbox,
  reconnect: { minMs: 10, maxMs: 100 },
  now: () => clock.now(),
  logger,
});
sender.start();
for (let n = 1; n <= Number(count); n++) {
  await sender.event({ kind: "camera-event", camera: "north", event: "test.said" }, "test.said", { run, n });
  process.stdout.write(`${n}\n`);
}
