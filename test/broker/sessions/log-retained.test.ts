import { expect, it } from "vitest";
import { LogRetained } from "../../../broker/sessions/log-retained.ts";
import type { PublicationLog } from "../../../platform/publication-log.ts";

it("a message above the head of a repaired log does not count as live", async () => {
  let append: Parameters<PublicationLog["follow"]>[0] = () => {};
  const retained = new LogRetained({
    head: 5,
    follow: (onPublications) => {
      append = onPublications;
      return () => {};
    },
    async *retainedTopics() {
      yield { topic: "a", bytes: 1, position: 8 };
    },
    retained: async () => [],
  });
  await retained.load();
  append([], 6);
  expect(retained.newest).toBe(8);
  append([], 9);
  expect(retained.newest).toBe(9);
});
