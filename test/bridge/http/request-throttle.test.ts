import { expect, it } from "vitest";
import { RequestThrottle } from "../../../bridge/http/request-throttle.ts";

const waitFor = async (
  throttle: RequestThrottle,
  address: string,
  count: number,
): Promise<{ passed: number; tookMs: number }> => {
  const begin = performance.now();
  const passed = await Promise.all(Array.from({ length: count }, () => throttle.wait(address)));
  return { passed: passed.filter(Boolean).length, tookMs: performance.now() - begin };
};

it("the throttle spreads requests beyond a burst without delaying another address", async () => {
  const throttle = new RequestThrottle(50);
  const order: string[] = [];
  const many = waitFor(throttle, "192.0.2.1", 66).then((result) => {
    order.push("many");
    return result;
  });
  await throttle.wait("192.0.2.2").then(() => order.push("one"));
  const { passed, tookMs } = await many;
  expect(passed).toBe(66);
  // 41 requests pass at once. The other 25 requests pass at intervals of 20 ms.
  expect(tookMs).toBeGreaterThan(450);
  expect(order).toEqual(["one", "many"]);
});

it("the throttle drops requests that would wait more than ten seconds", async () => {
  const throttle = new RequestThrottle(1000);
  expect((await waitFor(throttle, "192.0.2.1", 20_000)).passed).toBeLessThan(12_000);
  expect(await throttle.wait("192.0.2.2")).toBe(true);
});

it("the throttle delays no request without a limit", async () => {
  expect((await waitFor(new RequestThrottle(Infinity), "192.0.2.1", 50_000)).passed).toBe(50_000);
});
