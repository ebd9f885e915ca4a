import { ulid } from "ulid";
import { beforeEach, expect, it, vi } from "vitest";
import { smallJpeg } from "../../support/jpeg.ts";
import { envelope, openPlace, type Place, stopTheClock, tree } from "./alerts-place.ts";

const DAY = 86_400_000;
let place: Place;

beforeEach(async () => {
  stopTheClock();
  place = await openPlace();
});

/** What a clock shows that is off by so much. */
const at = (offMs: number) => new Date(Date.now() + offMs).toISOString();

/** One that was named a minute later than the last, by such a clock. */
async function picture(offMs: number): Promise<void> {
  vi.advanceTimersByTime(60_000);
  const topic = `${tree.root}/cameras/north/previews/${ulid(Date.now() + offMs).toLowerCase()}`;
  const payload = smallJpeg(topic);
  await place.ingest.accept({ identity: "device:north", topic, payload, qos: 1, retain: false });
}

/** Whether each picture was taken for one of a backlog, oldest first. */
const historical = () =>
  place.entries.flatMap(({ body }) => {
    const { event, historical: late = false } = JSON.parse(`{${body}}`);
    return event === "preview.updated" ? [late] : [];
  });

it("a picture is of now from a camera whose birth says that its clock is behind", async () => {
  await picture(0);
  const link = envelope("link", { status: "online", session: "s1" }, { timestamp: at(-3 * DAY) });
  await place.say("cameras/north/link", link, { retain: true });
  await picture(-3 * DAY);
  expect(historical()).toEqual([false, false]);
});

it("a picture is of now from a camera whose clock was set back while it is connected", async () => {
  await picture(0);
  await place.say("cameras/north/events/capture.completed", envelope("capture.completed", {}, { timestamp: at(-DAY) }));
  await picture(-DAY);
  expect(historical()).toEqual([false, false]);
});

it("a picture of a backlog stays one: neither its event nor a will tells what the camera's clock says now", async () => {
  await picture(0);
  const late = { timestamp: at(-DAY), historical: true };
  await place.say("cameras/north/events/capture.completed", envelope("capture.completed", {}, late));
  const will = envelope("link", { status: "offline", session: "s1" }, { timestamp: at(-DAY) });
  await place.say("cameras/north/link", will, { retain: true });
  await picture(-DAY);
  expect(historical()).toEqual([false, true]);
});

it("a camera's clock is right again once it says so", async () => {
  await place.say("cameras/north/events/capture.completed", envelope("capture.completed", {}, { timestamp: at(-DAY) }));
  await place.say("cameras/north/events/capture.completed", envelope("capture.completed", {}, { timestamp: at(0) }));
  await picture(0);
  await picture(-DAY);
  expect(historical()).toEqual([false, true]);
});
