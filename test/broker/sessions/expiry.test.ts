import pino from "pino";
import { expect, it, onTestFinished } from "vitest";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { PermissionSets } from "../../../broker/access/permission-sets.ts";
import { Wills } from "../../../broker/access/wills.ts";
import { openLogStorage } from "../../../broker/sessions/log-storage.ts";
import { topicTree } from "../../../contract/topics.ts";
import { ROOT, temporaryFolder } from "../broker-under-test.ts";

it("the session store keeps a session whose client reconnects while other sessions are being discarded", async () => {
  let now = 0;
  const sets = new PermissionSets({ tree: topicTree(ROOT), channels: new Map() });
  const logger = pino({ level: "silent" });
  const retention = { retentionEvents: 10, retentionHours: 1 };
  const journal = await openLevelJournal({ path: temporaryFolder(), sync: false, logger, ...retention });
  onTestFinished(() => journal.close());
  const { mqtt } = journal;
  if (mqtt === undefined) throw new Error("the journal has no log");
  const storage = await openLogStorage({
    ...{ log: mqtt, mayReceive: () => true, isConnected: () => false, closeClients: () => {} },
    permissionsOf: (permissions) => sets.of(permissions),
    wantsReceipt: () => false,
    takeReceipt: () => undefined,
    wills: new Wills(() => false),
    maxSessions: 10,
    maxSessionsPerUser: 10,
    maxSubscriptions: 10,
    maxOfflineMessages: 10,
    maxOfflineBytes: 10_000,
    maxOfflineLogBytes: 10_000,
    maxOfflineHours: 168,
    maxRetainedMessages: 10,
    now: () => now,
    logger,
  });
  onTestFinished(() => storage.destroy());
  const owner = { identity: "user:alice", permissions: [] };
  for (const key of ["a", "b"]) await storage.keep(key, owner);
  now = 1000;
  const expiring = storage.expire(500, () => false);
  await storage.keep("b", owner);
  expect(await expiring).toBe(1);
  expect(storage.ownerOf("a")).toBeUndefined();
  expect(storage.ownerOf("b")).toMatchObject({ identity: "user:alice" });
});
