import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const CAMERAS = 60;
const STATES = 5;
/** 75 MB in all: reading all states at once would block the event loop for seconds. */
const LARGE = { filler: "x".repeat(250_000) };

let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge();
  for (let camera = 0; camera < CAMERAS; camera++) {
    const id = `cam-${String(camera).padStart(2, "0")}`;
    await bridge.say(`cameras/${id}/state/small`, { n: camera }, true);
    for (let state = 0; state < STATES; state++) await bridge.say(`cameras/${id}/state/large-${state}`, LARGE, true);
  }
}, 120_000);
afterAll(() => bridge.stop());

const get = (path: string) => bridge.call(path, { token: bridge.mint("dashboard:read") });

describe("GET /cameras of large states", () => {
  it("leaves out the large states, names them and says where they can be read", async () => {
    const { text, body } = await get("/cameras");
    expect(body.cameras).toHaveLength(CAMERAS);
    expect(text.length).toBeLessThan(200_000);
    const [first] = body.cameras;
    expect(first.states.small.data).toEqual({ n: 0 });
    expect(first.states["large-0"]).toEqual({
      event: "state.updated",
      timestamp: expect.stringMatching(/Z$/),
      position: expect.any(Number),
    });
    expect(first.left_out).toEqual(
      ["large-0", "large-1", "large-2", "large-3", "large-4"].map((name) => `states.${name}`),
    );
    const whole = (await get(first.url)).body;
    expect(whole.states["large-0"].data).toEqual(LARGE);
    expect(whole).not.toHaveProperty("left_out");
  });

  it("keeps the event loop free while all cameras are listed", async () => {
    const turns: number[] = [];
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      turns.push(now - last);
      last = now;
    }, 1);
    try {
      for (let round = 0; round < 10; round++) expect((await get("/cameras")).status).toBe(200);
    } finally {
      clearInterval(timer);
    }
    // A turn of the event loop needs about 10 ms. Building all states at once would need seconds, so other load cannot
    // hide the difference.
    expect(Math.max(...turns)).toBeLessThan(1_000);
  });

  it("ends a page after a megabyte", async () => {
    const roomy = await startTestBridge({ env: { MAX_LISTED_STATE_BYTES: "0" } });
    try {
      for (const id of ["a", "b", "c"])
        for (let state = 0; state < 3; state++) await roomy.say(`cameras/${id}/state/large-${state}`, LARGE, true);
      const token = roomy.mint("camera:read");
      const first = (await roomy.call("/cameras", { token })).body;
      expect(first.cameras.map(({ id }: { id: string }) => id)).toEqual(["a", "b"]);
      const second = (await roomy.call(first.next, { token })).body;
      expect(second.cameras.map(({ id }: { id: string }) => id)).toEqual(["c"]);
    } finally {
      await roomy.stop();
    }
  });
});
