import { expect, test } from "vitest";
import { SessionCursor } from "../../../broker/sessions/session-cursor.ts";
import type { CursorRecord, SessionConnection, SessionDelivery } from "../../../broker/sessions/session-delivery.ts";
import { messageIdOf } from "../../../broker/sessions/session-flights.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";

class Connection implements SessionConnection {
  readonly isFull = false;
  readonly sent: [position: number, dup: boolean][] = [];

  mayReceive(): boolean {
    return true;
  }

  send({ publication, dup, onWritten }: SessionDelivery): void {
    this.sent.push([publication.position, dup]);
    onWritten();
  }
}

/** A session with the record, above a log with these positions. */
function sessionOf(record: Partial<CursorRecord>, positions: readonly number[]) {
  const publications = positions.map((position) => publicationAt(position));
  const log = { head: positions.at(-1) ?? 0 };
  const cursor = new SessionCursor(
    { sent: 0, open: [], filters: [["#", 2, 0]], ...record },
    {
      key: "user:alice",
      log: {
        recent: (after) => ({ publications: publications.filter(({ position }) => position > after), next: log.head }),
        read: () => Promise.reject(new Error("everything is in memory")),
      },
      edge: () => log.head,
      ...{ window: 10, maxUnwritten: 10 },
      wantsReceipt: () => false,
      onChange: () => {},
      onMissing: () => {},
      onReadFailed: () => {},
      now: () => 0,
      defer: (work) => work(),
    },
  );
  return {
    cursor,
    connect(): Connection {
      const connection = new Connection();
      cursor.connect(connection);
      cursor.start(connection);
      return connection;
    },
    publish(position: number): void {
      const publication = publicationAt(position);
      publications.push(publication);
      cursor.offer(publication, 2);
      log.head = position;
    },
  };
}

function publicationAt(position: number): LoggedPublication {
  return { position, topic: "a", payload: Buffer.alloc(0), qos: 2, retain: false };
}

test("a session that is stored while it handles a PUBREC is stored with the PUBREC, so that PUBREL may follow", () => {
  const { cursor, connect, publish } = sessionOf({}, []);
  const connection = connect();
  publish(1);
  expect(cursor.record().open).toEqual([[1, 2, 0]]);
  cursor.receive(connection, messageIdOf(1));
  expect(cursor.record().open).toEqual([[1, 2, 1]]);
});

test("a PUBREC that becomes durable after a newer connection has begun leaves the publication to that connection", () => {
  const { cursor, connect, publish } = sessionOf({}, []);
  const first = connect();
  publish(1);
  const isDurable = cursor.receive(first, messageIdOf(1));
  const second = connect();
  isDurable?.();
  expect(second.sent).toEqual([[1, true]]);
  // The log must keep the publication until the second PUBREC.
  expect(cursor.floor).toBe(0);
  cursor.receive(second, messageIdOf(1))?.();
  expect(cursor.floor).toBe(1);
});

test("a session gets nothing that was published before it subscribed, although it has older publications to read", () => {
  const { cursor, connect } = sessionOf({ filters: [["b", 2, 0]] }, [1, 2, 3]);
  cursor.subscribe("#", { qos: 2 });
  expect(cursor.qosOf(publicationAt(3))).toBe(0);
  expect(cursor.qosOf(publicationAt(4))).toBe(2);
  expect(connect().sent).toEqual([]);
  expect(cursor.isLive).toBe(true);
});

test("what is open and no longer in the log is closed, and its message id is free for the next publication", () => {
  const position = 60_002;
  expect(messageIdOf(position)).toBe(messageIdOf(2));
  const { cursor, connect } = sessionOf({ sent: 5, open: [[2, 2, 0]] }, [position]);
  expect(connect().sent).toEqual([[position, false]]);
  expect(cursor.record().open).toEqual([[position, 2, 0]]);
});

test("what is open and no longer in the log is closed when nothing newer follows", () => {
  const { cursor, connect } = sessionOf({ sent: 5, open: [[2, 2, 0]] }, [5]);
  connect();
  expect(cursor.record()).toMatchObject({ sent: 5, open: [] });
});
