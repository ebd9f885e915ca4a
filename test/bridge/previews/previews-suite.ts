import { ulid } from "ulid";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Previews, PreviewsOptions } from "../../../bridge/previews/previews.ts";
import { smallJpeg } from "../../support/jpeg.ts";

export type SuiteOptions = Omit<PreviewsOptions, "path">;

/** A place for the previews of a test. `open` after `close` finds the previews again. */
export interface PreviewPlace {
  open(options: SuiteOptions): Promise<Previews>;
  remove(): Promise<void>;
}

const HOUR = 3_600_000;
export const NOON = Date.UTC(2026, 2, 12, 12);
export const captureAt = (at: number): string => ulid(at).toLowerCase();

/** The tests that every preview store passes. */
export function previewsSuite(makePlace: () => Promise<PreviewPlace>): void {
  let place: PreviewPlace;
  let previews: Previews;
  let now: number;

  async function open(options: SuiteOptions = {}): Promise<void> {
    previews = await place.open({ now: () => now, ...options });
  }

  async function reopen(options: SuiteOptions = {}): Promise<void> {
    await previews.close();
    await open(options);
  }

  const newest = async (camera: string) => (await previews.newest([camera])).get(camera);
  const bytesOf = async (camera: string, capture?: string) => (await previews.read(camera, capture))?.jpeg;
  const captures = async (camera: string) =>
    (await previews.list(camera, { after: undefined, limit: 1000 })).previews.map(({ capture }) => capture);

  beforeEach(async () => {
    now = NOON;
    place = await makePlace();
    await open();
  });

  afterEach(async () => {
    await previews.close();
    await place.remove();
  });

  describe("the newest preview of a camera", () => {
    it("is readable once save resolves, with the etag of its bytes", async () => {
      const { updated, newest: isNewest } = await previews.save("north", "c1", smallJpeg("one"));
      const size_bytes = smallJpeg("one").length;
      expect(updated).toEqual({
        ...{ capture: "c1", url: "/cameras/north/latest.jpg", etag: expect.stringMatching(/^"[\w-]{27}"$/) },
        size_bytes,
      });
      expect(isNewest).toBe(true);
      const known = { capture: "c1", takenAt: NOON, savedAt: NOON, etag: updated.etag, sizeBytes: size_bytes };
      expect(await newest("north")).toEqual(known);
      expect(await previews.read("north")).toEqual({ preview: known, jpeg: smallJpeg("one") });
      expect(await previews.read("north", "c1")).toEqual({ preview: known, jpeg: smallJpeg("one") });
    });

    it("is the preview that was taken last, even if another arrived later, and belongs to its camera only", async () => {
      const [early, late] = [captureAt(NOON - HOUR), captureAt(NOON - 1000)];
      const { updated, newest: isNewest } = await previews.save("north", late, smallJpeg("late"));
      expect([isNewest, updated.taken_at]).toEqual([true, "2026-03-12T11:59:59.000Z"]);
      expect((await previews.save("north", early, smallJpeg("early"))).newest).toBe(false);
      await previews.save("south", "c1", smallJpeg("other"));
      expect(await bytesOf("north")).toEqual(smallJpeg("late"));
      expect(await bytesOf("north", early)).toEqual(smallJpeg("early"));
      expect(await bytesOf("south")).toEqual(smallJpeg("other"));
      expect([...(await previews.newest(["north", "south", "east"])).keys()]).toEqual(["north", "south"]);
    });

    it("is ordered by its arrival when its capture id has no plausible time", async () => {
      for (const capture of ["c1", captureAt(NOON + HOUR), captureAt(Date.UTC(1990, 0, 1)), "a".repeat(26)]) {
        now += 1000;
        const { updated, newest: isNewest } = await previews.save("north", capture, smallJpeg(capture));
        expect([isNewest, updated.taken_at]).toEqual([true, undefined]);
        expect(await newest("north")).toMatchObject({ capture, takenAt: now });
      }
    });

    it("stays after its retention, until a newer preview arrives", async () => {
      const old = captureAt(NOON);
      await previews.save("north", old, smallJpeg("old"));
      now += 50 * HOUR;
      expect(await bytesOf("north")).toEqual(smallJpeg("old"));
      await previews.save("north", "c1", smallJpeg("new"));
      expect(await bytesOf("north")).toEqual(smallJpeg("new"));
      expect(await captures("north")).toEqual(["c1"]);
    });

    it("is the preview that was taken last, even after the camera's clock was set back", async () => {
      const before = captureAt(NOON);
      await previews.save("north", before, smallJpeg("before"));
      now += HOUR;
      const sender = { senderAheadMs: -72 * HOUR };
      const behind = captureAt(now - 72 * HOUR);
      const { updated, newest: isNewest } = await previews.save("north", behind, smallJpeg("behind"), sender);
      expect([isNewest, updated.taken_at]).toEqual([true, new Date(now).toISOString()]);
      expect(await bytesOf("north")).toEqual(smallJpeg("behind"));
      expect(await captures("north")).toEqual([behind, before]);
    });

    it("is replaced after the camera's clock was hours ahead", async () => {
      const ahead = captureAt(NOON + 5 * HOUR);
      await previews.save("north", ahead, smallJpeg("ahead"), { senderAheadMs: 5 * HOUR });
      now += 60_000;
      const next = await previews.save("north", captureAt(now), smallJpeg("right"));
      expect(next.newest).toBe(true);
      expect(await bytesOf("north")).toEqual(smallJpeg("right"));
    });

    it("survives a restart, like all other previews", async () => {
      const [one, two] = [captureAt(NOON - 2000), captureAt(NOON - 1000)];
      await previews.save("north", one, smallJpeg("one"));
      await previews.save("north", two, smallJpeg("two"));
      const before = await newest("north");
      await reopen();
      expect(await newest("north")).toEqual(before);
      expect(await captures("north")).toEqual([two, one]);
      expect(await bytesOf("north", one)).toEqual(smallJpeg("one"));
    });

    it("is undefined for a camera without previews", async () => {
      expect(await newest("north")).toBeUndefined();
      expect(await previews.read("__proto__")).toBeUndefined();
      expect(await previews.read("north", "c1")).toBeUndefined();
      expect(await previews.list("north", { after: undefined, limit: 10 })).toEqual({ previews: [], total: 0 });
      expect(await previews.overview("north", 10)).toEqual({ previews: [], total: 0 });
    });
  });

  describe("a capture that is saved again", () => {
    it("changes nothing when the bytes are the same", async () => {
      const { updated } = await previews.save("north", "c1", smallJpeg("one"));
      now += 1000;
      expect((await previews.save("north", "c1", smallJpeg("one"))).updated.etag).toBe(updated.etag);
      expect((await newest("north"))?.savedAt).toBe(NOON);
      expect(await captures("north")).toEqual(["c1"]);
    });

    it("replaces the preview when the bytes differ", async () => {
      await previews.save("north", "c1", smallJpeg("one"));
      now += 1000;
      await previews.save("north", "c1", smallJpeg("another"));
      expect(await bytesOf("north", "c1")).toEqual(smallJpeg("another"));
      expect(await captures("north")).toEqual(["c1"]);
      await reopen();
      expect(await bytesOf("north")).toEqual(smallJpeg("another"));
    });
  });

  it("keeps many previews that are saved at once, in the order in which they were taken", async () => {
    const names = Array.from({ length: 60 }, (_, index) => captureAt(NOON - index * 1000));
    await Promise.all(names.map((name) => previews.save("north", name, smallJpeg(name))));
    expect(await captures("north")).toEqual(names);
    for (const name of names) expect(await bytesOf("north", name)).toEqual(smallJpeg(name));
  });

  describe("the list", () => {
    const names = Array.from({ length: 25 }, (_, index) => captureAt(NOON - index * 60_000));

    beforeEach(() => Promise.all(names.map((name) => previews.save("north", name, smallJpeg(name)))));

    it("has pages, newest first, with each preview once", async () => {
      const read: string[] = [];
      let after: { takenAt: number; capture: string } | undefined;
      for (let count = 0; count < 4; count++) {
        const page = await previews.list("north", { after, limit: 10 });
        expect(page.total).toBe(25);
        read.push(...page.previews.map(({ capture }) => capture));
        after = page.previews.at(-1) ?? after;
      }
      expect(read).toEqual(names);
    });

    it("has pages of a range of time, and counts only what the range has", async () => {
      const range = { from: NOON - 14 * 60_000, to: NOON - 3 * 60_000 };
      const read: string[] = [];
      let after: { takenAt: number; capture: string } | undefined;
      for (let count = 0; count < 3; count++) {
        const page = await previews.list("north", { after, limit: 5, ...range });
        expect(page.total).toBe(12);
        read.push(...page.previews.map(({ capture }) => capture));
        after = page.previews.at(-1) ?? after;
      }
      expect(read).toEqual(names.slice(3, 15));
      expect((await previews.list("north", { after: undefined, limit: 50, to: range.to })).total).toBe(22);
      const { previews: chosen, total } = await previews.overview("north", 4, range);
      expect([total, chosen.map(({ capture }) => names.indexOf(capture))]).toEqual([12, [3, 6, 9, 12]]);
    });

    it("continues at its cursor when the preview at the cursor was removed, or a newer preview arrived", async () => {
      await previews.save("north", captureAt(NOON + 1), smallJpeg("newer"));
      const after = { takenAt: NOON - 4 * 60_000 - 500, capture: "removed" };
      const [next] = (await previews.list("north", { after, limit: 1 })).previews;
      expect(next?.capture).toBe(names[5]);
    });

    it("has an overview of previews that are spread evenly over time", async () => {
      const { previews: chosen, total } = await previews.overview("north", 5);
      expect(total).toBe(25);
      expect(chosen.map(({ capture }) => names.indexOf(capture))).toEqual([0, 5, 10, 15, 20]);
      expect((await previews.overview("north", 100)).previews).toHaveLength(25);
    });
  });

  describe("the number of previews is limited", () => {
    it("by age since the arrival: an expired preview disappears from lists at once", async () => {
      const old = captureAt(NOON);
      await previews.save("north", old, smallJpeg("old"));
      now += 10 * HOUR;
      const [late, young] = [captureAt(NOON - 60 * HOUR), captureAt(now)];
      await previews.save("north", young, smallJpeg("young"));
      await previews.save("north", late, smallJpeg("late"));
      now += 39 * HOUR;
      expect(await captures("north")).toEqual([young, late]);
      expect(await bytesOf("north", late)).toEqual(smallJpeg("late"));
      expect((await previews.overview("north", 10)).total).toBe(2);
      const last = captureAt(now);
      await previews.save("north", last, smallJpeg("now"));
      expect(await bytesOf("north", old)).toBeUndefined();
      now += 10 * HOUR;
      expect(await captures("north")).toEqual([last]);
    });

    it.each([
      ["maxPreviewsPerCamera", { maxPreviewsPerCamera: 3 }],
      ["maxBytesPerCamera", { maxBytesPerCamera: 3 * 400 }],
    ])("by %s, which removes the oldest previews of that camera", async (_name, limits) => {
      await reopen(limits);
      const names = Array.from({ length: 5 }, (_, index) => captureAt(NOON - 5000 + index * 1000));
      for (const name of names) await previews.save("north", name, smallJpeg(name, { bytes: 400 }));
      await previews.save("south", captureAt(NOON - 9000), smallJpeg("other", { bytes: 400 }));
      expect(await captures("north")).toEqual([names[4], names[3], names[2]]);
      expect(await captures("south")).toHaveLength(1);
      expect(await bytesOf("north", names[0])).toBeUndefined();
    });

    it.each([
      ["maxPreviews", { maxPreviews: 4 }],
      ["maxBytes", { maxBytes: 4 * 400 }],
    ])(
      "by %s, which removes the oldest previews of all cameras except the newest of each camera",
      async (_name, limits) => {
        await reopen(limits);
        const save = (camera: string, at: number) =>
          previews.save(camera, captureAt(at), smallJpeg(`${camera} ${at}`, { bytes: 400 }));
        for (const at of [-9000, -8000, -7000]) await save("north", NOON + at);
        for (const at of [-6000, -5000, -4000]) await save("south", NOON + at);
        expect(await captures("south")).toHaveLength(3);
        expect(await captures("north")).toHaveLength(1);
        expect(await bytesOf("north")).toEqual(smallJpeg(`north ${NOON - 7000}`, { bytes: 400 }));
      },
    );

    it("by maxCameras, which removes the previews of the camera that was silent longest, also after a restart", async () => {
      for (const camera of ["a", "b"]) {
        now += 1000;
        await previews.save(camera, captureAt(now), smallJpeg(camera));
      }
      now += 1000;
      await previews.save("a", captureAt(now), smallJpeg("again"));
      await reopen({ maxCameras: 2 });
      now += 1000;
      await previews.save("c", captureAt(now), smallJpeg("c"));
      expect([...(await previews.newest(["a", "b", "c"])).keys()]).toEqual(["a", "c"]);
      expect(await captures("b")).toEqual([]);
    });
  });
}
