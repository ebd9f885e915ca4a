import { ulid } from "ulid";
import { beforeEach, expect, it, vi } from "vitest";
import { smallJpeg } from "../../support/jpeg.ts";
import { envelope, type Fixture, openFixture, tree, useFakeClock } from "./watcher-fixture.ts";

const DAY = 86_400_000;
let fixture: Fixture;

beforeEach(async () => {
  useFakeClock();
  fixture = await openFixture();
});

/** The time on a clock that is off by `offMs`. */
const at = (offMs: number) => new Date(Date.now() + offMs).toISOString();

/** Publishes a preview one minute after the last. The time in the name of the new preview is off by `offMs`. */
async function publishPreview(offMs: number): Promise<void> {
  vi.advanceTimersByTime(60_000);
  const topic = `${tree.root}/cameras/north/previews/${ulid(Date.now() + offMs).toLowerCase()}`;
  const payload = smallJpeg(topic);
  await fixture.ingest.accept({ identity: "device:north", topic, payload, qos: 1, retain: false });
}

/** Whether each preview was recorded as part of a backlog, oldest preview first. */
const historical = () =>
  fixture.entries.flatMap(({ body }) => {
    const { event, historical: late = false } = JSON.parse(`{${body}}`);
    return event === "preview.updated" ? [late] : [];
  });

it("the bridge records a preview as current when the camera's birth message shows that its clock is behind", async () => {
  await publishPreview(0);
  const link = envelope("link", { status: "online", session: "s1" }, { timestamp: at(-3 * DAY) });
  await fixture.accept("cameras/north/link", link, { retain: true });
  await publishPreview(-3 * DAY);
  expect(historical()).toEqual([false, false]);
});

it("the bridge records a preview as current when the camera's clock was set back while it is connected", async () => {
  await publishPreview(0);
  await fixture.accept(
    "cameras/north/events/capture.completed",
    envelope("capture.completed", {}, { timestamp: at(-DAY) }),
  );
  await publishPreview(-DAY);
  expect(historical()).toEqual([false, false]);
});

it("the bridge learns a camera's clock neither from a backlog nor from a will", async () => {
  await publishPreview(0);
  const late = { timestamp: at(-DAY), historical: true };
  await fixture.accept("cameras/north/events/capture.completed", envelope("capture.completed", {}, late));
  const will = envelope("link", { status: "offline", session: "s1" }, { timestamp: at(-DAY) });
  await fixture.accept("cameras/north/link", will, { retain: true });
  await publishPreview(-DAY);
  expect(historical()).toEqual([false, true]);
});

it("the bridge ignores an earlier clock difference when the camera's clock is right again", async () => {
  await fixture.accept(
    "cameras/north/events/capture.completed",
    envelope("capture.completed", {}, { timestamp: at(-DAY) }),
  );
  await fixture.accept(
    "cameras/north/events/capture.completed",
    envelope("capture.completed", {}, { timestamp: at(0) }),
  );
  await publishPreview(0);
  await publishPreview(-DAY);
  expect(historical()).toEqual([false, true]);
});
