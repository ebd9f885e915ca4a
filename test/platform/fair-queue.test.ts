import { expect, it } from "vitest";
import { FairQueue } from "../../platform/fair-queue.ts";

function tasks() {
  const turns = new FairQueue({ maxRunning: 4, maxPerOwner: 2 });
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  return {
    begun,
    ask: (name: string) =>
      turns.run(name.slice(0, 1), () => {
        begun.push(name);
        return new Promise<void>((resolve) => ends.set(name, resolve));
      }),
    end: async (name: string) => {
      ends.get(name)?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

it("limits the running tasks of each owner, without delaying tasks of other owners", () => {
  const { ask, begun } = tasks();
  for (const name of ["a1", "a2", "a3", "a4", "b1", "c1", "d1"]) void ask(name);
  expect(begun).toEqual(["a1", "a2", "b1", "c1"]);
});

it("serves waiting owners in rotation, however many tasks each has", async () => {
  const { ask, begun, end } = tasks();
  for (const name of ["a1", "a2", "b1", "c1", "a3", "a4", "a5", "d1", "e1"]) void ask(name);
  for (const name of ["a1", "a2", "b1", "c1"]) await end(name);
  expect(begun.slice(4).toSorted()).toEqual(["a3", "a4", "d1", "e1"]);
  expect(begun.indexOf("d1")).toBeLessThan(begun.indexOf("a4"));
});

it("starts the next task after a task failed", async () => {
  const turns = new FairQueue({ maxRunning: 1, maxPerOwner: 1 });
  const failed = turns.run("a", () => Promise.reject(new Error("no")));
  const next = turns.run("b", async () => "done");
  await expect(failed).rejects.toThrow("no");
  expect(await next).toBe("done");
});
