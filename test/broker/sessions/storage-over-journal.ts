import pino from "pino";
import { onTestFinished } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { PermissionSets } from "../../../broker/access/permission-sets.ts";
import { Wills } from "../../../broker/access/wills.ts";
import { openLogStorage } from "../../../broker/sessions/log-storage.ts";
import { topicTree } from "../../../contract/topics.ts";
import { ROOT, temporaryFolder } from "../broker-under-test.ts";

interface StorageOptions {
  /** Milliseconds since 1970. */
  now: () => number;
  /** Default: a journal in a folder of its own. */
  openJournal?: (now: () => number) => Promise<Journal>;
  isConnected?: (key: string) => boolean;
  closeClients?: () => void;
}

/** Opens a journal in a temporary folder, in which a later call finds what this one has written. */
export function levelPlace(): (now: () => number) => Promise<Journal> {
  const path = temporaryFolder();
  const logger = pino({ level: "silent" });
  const retention = { retentionEvents: 10, retentionHours: 1 };
  return (now) => openLevelJournal({ path, sync: false, logger, now, ...retention });
}

/** Opens the broker's storage over a journal, without a broker. */
export async function openStorage(options: StorageOptions) {
  const { now, openJournal = levelPlace(), isConnected = () => false, closeClients = () => {} } = options;
  const sets = new PermissionSets({ tree: topicTree(ROOT), channels: new Map() });
  const logger = pino({ level: "silent" });
  const journal = await openJournal(now);
  const wills = new Wills(() => false);
  const storage = await openLogStorage({
    ...{ log: journal.mqtt, mayReceive: () => true, isConnected, closeClients, wills, now, logger },
    permissionsOf: (permissions) => sets.of(permissions),
    wantsReceipt: () => false,
    takeReceipt: () => undefined,
    ...{
      maxSessions: 10,
      maxSessionsPerUser: 10,
      maxSubscriptions: 10,
      maxOfflineMessages: 10_000,
      maxOfflineHours: 168,
    },
    ...{ maxOfflineBytes: 1e9, maxOfflineLogBytes: 1e9, maxRetainedMessages: 10, heartbeatMs: 1_000 },
    ...{ maxShareGroups: 10, maxShareGroupsPerUser: 10, onSharedSent: () => {} },
  });
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= storage.destroy().then(() => journal.close());
    return closing;
  };
  onTestFinished(close);
  return { storage, journal, wills, close };
}
