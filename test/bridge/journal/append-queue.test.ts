import { expect, test } from "vitest";
import { AppendQueue, type WaitingAppend } from "../../../bridge/journal/core/append-queue.ts";
import { DEFAULT_JOURNAL_LIMITS } from "../../../bridge/journal/core/limits.ts";
import type { Appended } from "../../../bridge/journal/journal.ts";
import { message } from "./messages.ts";

/** A queue whose store takes groups, and settles them when the test says so. */
function openQueue(maxWaitingEntries: number) {
  const groups: WaitingAppend<string>[][] = [];
  const pending = new Map<string, WaitingAppend<string>>();
  const queue = new AppendQueue<string>({
    ...{ limits: { ...DEFAULT_JOURNAL_LIMITS, maxWaitingEntries }, store: "Redis" },
    dedupKeyOf: ({ id }) => id,
    find: (key) => pending.get(key),
    wait: (key, waiting) => pending.set(key, waiting),
    write: async (messages) => void groups.push(messages),
  });
  const append = (id: string) =>
    new Promise<Appended>((resolve, reject) => {
      queue.append({ ...message(), origin: { ...message().origin, id } }, resolve, reject);
    });
  const written = () => new Promise((resolve) => setImmediate(resolve));
  return { queue, groups, append, written };
}

test("an append that is settled twice keeps its first result, and makes room once", async () => {
  const { queue, groups, append, written } = openQueue(2);
  const first = append("a");
  const repeated = append("a");
  await written();
  const [group = []] = groups;
  for (const waiting of group) queue.reject(waiting, new Error("the connection is lost"));
  queue.accept(group, 0);
  await expect(first).rejects.toThrow("the connection is lost");
  await expect(repeated).rejects.toThrow("the connection is lost");
  const others = [append("b"), append("c")];
  await expect(append("d")).rejects.toThrow("2 messages already wait for Redis");
  await written();
  queue.accept(groups[1] ?? [], 0);
  expect(await Promise.all(others)).toEqual([1, 2].map((position) => ({ position, duplicate: false })));
});

test("the queue is idle once each append has its result, not when the write ends", async () => {
  const { queue, groups, append, written } = openQueue(10);
  const appended = append("a");
  await written();
  let isIdle = false;
  const idle = queue.idle().then(() => {
    isIdle = true;
  });
  await written();
  expect(isIdle).toBe(false);
  queue.accept(groups[0] ?? [], 6);
  await idle;
  expect(await appended).toEqual({ position: 7, duplicate: false });
});
