import { expect, it } from "vitest";
import { RequestThrottle } from "../../../bridge/http/request-throttle.ts";

const take = async (
  throttle: RequestThrottle,
  address: string,
  count: number,
): Promise<{ turns: number; tookMs: number }> => {
  const begin = performance.now();
  const turns = await Promise.all(Array.from({ length: count }, () => throttle.wait(address)));
  return { turns: turns.filter(Boolean).length, tookMs: performance.now() - begin };
};

it("spreads what comes beyond a burst, and lets no other address wait for it", async () => {
  const throttle = new RequestThrottle(50);
  const order: string[] = [];
  const many = take(throttle, "192.0.2.1", 66).then((result) => {
    order.push("many");
    return result;
  });
  await throttle.wait("192.0.2.2").then(() => order.push("one"));
  const { turns, tookMs } = await many;
  expect(turns).toBe(66);
  // 41 at once, and 25 more 20 ms apart.
  expect(tookMs).toBeGreaterThan(450);
  expect(order).toEqual(["one", "many"]);
});

it("takes up no request for which others would wait more than ten seconds", async () => {
  const throttle = new RequestThrottle(1000);
  expect((await take(throttle, "192.0.2.1", 20_000)).turns).toBeLessThan(12_000);
  expect(await throttle.wait("192.0.2.2")).toBe(true);
});

it("gives every request its turn at once when there is no limit", async () => {
  expect((await take(new RequestThrottle(Infinity), "192.0.2.1", 50_000)).turns).toBe(50_000);
});
