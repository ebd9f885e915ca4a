import type { LoggedPublication } from "../../platform/publication-log.ts";
import { FIRST_UNLOGGED_ID, LAST_UNLOGGED_ID } from "../aedes/message-ids.ts";
import type { SessionCursor } from "./session-cursor.ts";
import type { SessionConnection, SessionDelivery } from "./session-delivery.ts";
import type { LogDeliveries, Session } from "./storage.ts";

/** The broker id of publications that come from the log. Their counter is their position. */
export const LOG_ID = "log";
/** Bytes that a connection may have unsent before its session waits. */
const FULL_BYTES = 256 * 1024;

/** A client of Aedes, as far as the store uses it. */
interface LogClient extends Session {
  conn: { readonly writableLength: number; once(event: "close", listener: () => void): unknown } & {
    on(event: "drain", listener: () => void): unknown;
  };
  publish(packet: object, done: () => void): void;
}

export function isLogClient(client: Session): client is LogClient {
  return "conn" in client && "publish" in client;
}

type MayReceive = (client: object, publication: LoggedPublication) => boolean;

/** The connection of a session, which sends publications of the log through Aedes. */
export class LogConnection implements SessionConnection {
  readonly #client: LogClient;
  readonly #mayReceive: MayReceive;
  /** PUBRELs that Aedes has not written yet. */
  unsentReleases = 0;

  constructor(client: LogClient, mayReceive: MayReceive) {
    this.#client = client;
    this.#mayReceive = mayReceive;
  }

  get isFull(): boolean {
    return this.#client.conn.writableLength > FULL_BYTES;
  }

  mayReceive(publication: LoggedPublication): boolean {
    return this.#mayReceive(this.#client, publication);
  }

  /** Without the options of subscriptions, although the client may have made some as a client of MQTT 5 [MQTT-3.3.1-9]. */
  send({ publication, qos, dup, onWritten }: SessionDelivery): void {
    const { topic, payload, position: brokerCounter } = publication;
    const packet = { cmd: "publish", topic, payload, qos, retain: false, dup, brokerId: LOG_ID, brokerCounter };
    this.#client.publish(packet, onWritten);
  }
}

/** @param cursorOf the cursor of the session with this key */
export function deliveriesOf(cursorOf: (key: string) => SessionCursor | undefined): LogDeliveries {
  let unloggedId = LAST_UNLOGGED_ID;
  return {
    logId: LOG_ID,
    messageIdAt: ({ id }, position) => cursorOf(id)?.flights.at(position)?.messageId,
    nextUnloggedId: ({ id }) => {
      const flights = cursorOf(id)?.flights;
      // Sessions of earlier versions may hold any id.
      for (let tries = FIRST_UNLOGGED_ID; tries <= LAST_UNLOGGED_ID; tries++) {
        unloggedId = unloggedId >= LAST_UNLOGGED_ID ? FIRST_UNLOGGED_ID : unloggedId + 1;
        if (flights?.withId(unloggedId) === undefined) break;
      }
      return unloggedId;
    },
  };
}
