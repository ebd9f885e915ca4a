import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Publish } from "../../../bridge/broker-link/publish.ts";
import { startAlerts } from "../../../bridge/cameras/alerts/alerts.ts";
import { isOfCamera } from "../../../bridge/cameras/camera-messages.ts";
import { ALERT_NOTES, type AlertNote } from "../../../contract/topics.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { type Fixture, logger, openFixture, tree, useFakeClock } from "./watcher-fixture.ts";

const MINUTE = 60_000;
const ALERT = "cameras/north/alerts/heater";
const HEATER = { alert: "heater", severity: "warning", message: "cold" };
let fixture: Fixture;
let refuse = false;

beforeEach(async () => {
  refuse = false;
  useFakeClock();
  fixture = await openFixture();
});

async function watch(): Promise<() => Promise<void>> {
  const { journal, cluster, ingest } = fixture;
  const publish: Publish = async (message) => {
    if (refuse) throw new StoreUnavailableError("the disk is full");
    return ingest.publish(message);
  };
  const watcher = await startAlerts({ journal, documents: cluster.documents, tree, publish, logger });
  onTestFinished(() => watcher.stop());
  return () => watcher.stop();
}

const raise = () => fixture.accept(ALERT, HEATER, { retain: true });
const clear = () => fixture.accept(ALERT, null, { retain: true });
const noteDown = (note: AlertNote, minutes?: number) =>
  fixture.ingest.publish({
    topic: { kind: "camera-alert-note", camera: "north", name: "heater", note },
    ...{ event: "alert.muted", retain: true, sender: "user:alice" },
    data: {
      ...{ alert: "heater", by: "user:alice", at: new Date().toISOString() },
      ...(minutes === undefined ? {} : { until: new Date(Date.now() + minutes * MINUTE).toISOString() }),
    },
  });
const held = () => ALERT_NOTES.filter((note) => fixture.journal.state(`${tree.root}/${ALERT}/${note}`) !== undefined);

async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms);
  await fixture.settled();
}

describe("an acknowledgement", () => {
  it("ends when its alert is cleared, so that the next alert of this name is not acknowledged", async () => {
    await watch();
    await raise();
    await noteDown("acknowledgement");
    // The camera sends the alert again, for example after a restart.
    await raise();
    await pass(MINUTE);
    expect(held()).toEqual(["acknowledgement"]);
    await clear();
    await raise();
    await fixture.settled();
    expect(held()).toEqual([]);
    expect(fixture.published(`${ALERT}/acknowledgement`).map(({ event }) => event)).toEqual([
      "alert.muted",
      "state.cleared",
    ]);
  });

  it("ends also if the alert is cleared and raised again while nobody watches", async () => {
    const stop = await watch();
    await raise();
    await noteDown("acknowledgement");
    await stop();
    await clear();
    await raise();
    await fixture.restart();
    await watch();
    await fixture.settled();
    expect(held()).toEqual([]);
  });

  it("of the new alert stays, if somebody acknowledges it while nobody watches", async () => {
    const stop = await watch();
    await raise();
    await noteDown("acknowledgement");
    await stop();
    await clear();
    await raise();
    await noteDown("acknowledgement");
    await fixture.restart();
    await watch();
    await pass(MINUTE);
    expect(held()).toEqual(["acknowledgement"]);
  });

  it("without an alert is cleared at the start, even without a checkpoint", async () => {
    await noteDown("acknowledgement");
    await watch();
    await fixture.settled();
    expect(held()).toEqual([]);
  });

  it("is cleared later if the store takes no writes when the alert is cleared", async () => {
    await watch();
    await raise();
    await noteDown("acknowledgement");
    refuse = true;
    await clear();
    await pass(MINUTE);
    expect(held()).toEqual(["acknowledgement"]);
    refuse = false;
    await pass(MINUTE);
    expect(held()).toEqual([]);
  });
});

describe("a mute", () => {
  it("outlasts its alert and a restart, and ends at its time", async () => {
    const stop = await watch();
    await raise();
    await noteDown("mute", 60);
    await clear();
    await pass(30 * MINUTE);
    expect(held()).toEqual(["mute"]);
    await stop();
    await fixture.restart();
    await watch();
    await pass(29 * MINUTE);
    expect(held()).toEqual(["mute"]);
    await pass(2 * MINUTE);
    expect(held()).toEqual([]);
  });

  it("that is prolonged ends at the later time", async () => {
    await watch();
    await noteDown("mute", 10);
    await noteDown("mute", 60);
    await pass(50 * MINUTE);
    expect(held()).toEqual(["mute"]);
    await pass(11 * MINUTE);
    expect(held()).toEqual([]);
  });
});

it("a note about an alert does not show that the camera is alive", () => {
  expect(isOfCamera({ kind: "camera-alert", camera: "north", name: "heater" })).toBe(true);
  for (const note of ALERT_NOTES)
    expect(isOfCamera({ kind: "camera-alert-note", camera: "north", name: "heater", note })).toBe(false);
});
