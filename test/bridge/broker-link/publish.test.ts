import { expect, it } from "vitest";
import { publishToMqttFor } from "../../../bridge/broker-link/publish.ts";
import { LeaseLostError } from "../../../platform/errors.ts";
import { recordingLink } from "../support/recording-link.ts";

const PUBLICATION = { topic: "house/light", payload: Buffer.from("on"), qos: 1, retain: true } as const;

it("a task publishes to MQTT subscribers with its fence, and gives up its lease when the store refuses the fence", async () => {
  const link = recordingLink();
  const lost = new AbortController();
  const fence = { lease: "home-assistant", number: 7 };
  const lease = { fence, lost: lost.signal, lose: () => lost.abort(), release: async () => {} };
  const publish = publishToMqttFor(lease, link);
  await publish(PUBLICATION);
  expect(link.publications).toEqual([{ ...PUBLICATION, fence }]);
  link.failure = new Error("the disk is full");
  await expect(publish(PUBLICATION)).rejects.toBe(link.failure);
  expect(lost.signal.aborted).toBe(false);
  link.failure = new LeaseLostError("home-assistant");
  await expect(publish(PUBLICATION)).rejects.toBe(link.failure);
  expect(lost.signal.aborted).toBe(true);
});
