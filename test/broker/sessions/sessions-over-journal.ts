import { pino } from "pino";
import { expect } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { LogSessions, type LogSessionsOptions } from "../../../broker/sessions/log-sessions.ts";
import type { SessionDelivery } from "../../../broker/sessions/session-delivery.ts";
import type { LogSession } from "../../../broker/sessions/session-record.ts";
import type { Damage } from "../../../platform/level/damage.ts";

interface OpenOptions extends Partial<LogSessionsOptions> {
  found?: Damage[];
  logged?: string[];
  /** Default: opens the journal in the folder. */
  openJournal?: (now: () => number) => Promise<Journal>;
}

/** Opens a journal, and the sessions over its log, without a broker. */
export async function openSessions(
  path: string,
  { found = [], logged = [], openJournal, ...options }: OpenOptions = {},
) {
  const logger = pino({ level: "warn" }, { write: (line: string) => void logged.push(line) });
  const retention = { retentionEvents: 10_000, retentionHours: 24 };
  const onDamage = (damage: Damage) => void found.push(damage);
  const now = options.now ?? Date.now;
  const journal = await (openJournal?.(now) ??
    openLevelJournal({ path, sync: false, logger, onDamage, now, ...retention }));
  const log = journal.mqtt;
  if (log === undefined) throw new Error("the journal keeps no log");
  const sessions = new LogSessions({
    ...{ log, logger, wantsReceipt: () => false, now, maxOfflineMessages: 10_000, maxOfflineBytes: 1e9 },
    ...{ maxOfflineLogBytes: 1e9, maxOfflineHours: 168, maxShareGroups: 10, maxShareGroupsPerUser: 10 },
    permissionsOf: () => ({
      ...{ grants: { permissions: [] } as never, mayReceive: () => true, mayRead: () => true },
      ...{ subscribeProblem: () => undefined, decidePublish: () => ({ kind: "plain" }) as const },
    }),
    ...options,
  });
  const { missed } = await sessions.load();
  log.rows.follow({
    onTaken: (client, session) => sessions.taken(client, session),
    onLeft: (client, session) => sessions.replace(client, session),
    onRemoved: (client) => sessions.forget(client),
    onWill: () => {},
  });
  const close = async () => {
    await sessions.stop();
    await journal.close();
  };
  return { journal, log, sessions, missed, close };
}

/** Connects a client that acknowledges everything. @returns the payloads of the publications that it gets */
export async function drain(session: LogSession, edge: number): Promise<string[]> {
  const received: string[] = [];
  const connection = {
    isFull: false,
    mayReceive: () => true,
    send: ({ publication, messageId, onWritten }: SessionDelivery) => {
      received.push(publication.payload.toString());
      setImmediate(() => {
        onWritten();
        session.cursor.acknowledge(connection, messageId);
      });
    },
  };
  session.cursor.connect(connection);
  session.cursor.start(connection);
  await expect.poll(() => session.cursor.isLive && session.cursor.open === 0, { interval: 2 }).toBe(true);
  expect(session.cursor.sent).toBeGreaterThanOrEqual(edge);
  session.cursor.disconnect(connection);
  return received;
}
