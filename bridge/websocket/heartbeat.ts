import { CloseCode } from "../../contract/codes.ts";
import { pingFrames } from "../delivery/frames.ts";
import type { SocketsConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { MessageBytes } from "./requests.ts";
import type { Session } from "./session.ts";

/** A connection from its upgrade to its end; without a session until it has shown a token. */
export interface Peer {
  connection: Connection;
  session: Session | undefined;
  /** It has shown a good token, and what it sends is no stranger's any more. */
  known: boolean;
  /** What it sent while its token is looked at and its admission is under way; undefined before and after. */
  early: [bytes: MessageBytes, isBinary: boolean][] | undefined;
  /** Gives its place among its user's connections back. */
  leave: (() => void) | undefined;
}

type Waits = Pick<
  Required<SocketsConfig>,
  "authTimeoutMs" | "pingIntervalMs" | "drainTimeoutMs" | "tokenWarningMs" | "tokenGraceMs"
>;

export interface HeartbeatOptions {
  waits: Waits;
  peers: { values(): Iterable<Peer> };
  onAuthTimeout: (connection: Connection) => void;
  /** After every look at all peers. */
  onLooked: () => void;
}

/** Pings that may go unanswered: with the next one due, the peer is taken for dead. */
const MAX_UNANSWERED_PINGS = 2;

/**
 * One timer for all that is waited for, on all connections: first frames, pongs, drains, tokens that end. A timer of
 * its own for each would cost ten thousand idle connections more than this look at them does.
 * @returns ends it
 */
export function startHeartbeat(options: HeartbeatOptions): () => void {
  const shortestMs = Math.min(...Object.values(pickWaits(options.waits)));
  const timer = setInterval(
    () => {
      look(options, performance.now(), Date.now());
      options.onLooked();
    },
    Math.min(250, Math.max(5, shortestMs / 10)),
  );
  return () => clearInterval(timer);
}

function pickWaits({ authTimeoutMs, pingIntervalMs, drainTimeoutMs, tokenWarningMs, tokenGraceMs }: Waits): Waits {
  return { authTimeoutMs, pingIntervalMs, drainTimeoutMs, tokenWarningMs, tokenGraceMs };
}

/** @param now running time, of connections @param wall the system's clock, of tokens */
function look({ peers, waits, onAuthTimeout }: HeartbeatOptions, now: number, wall: number): void {
  let pinged: { position: number | undefined; frames: Buffer } | undefined;
  for (const { connection, session } of peers.values()) {
    if (!connection.open) continue;
    if (session === undefined) {
      if (now - connection.openedAt >= waits.authTimeoutMs) onAuthTimeout(connection);
      continue;
    }
    if (connection.stalledMs(now) >= waits.drainTimeoutMs) {
      connection.cut(CloseCode.slow, "nothing was read for too long");
      continue;
    }
    session.watchToken(wall);
    if (now < connection.pingAt) continue;
    connection.pingAt = now + waits.pingIntervalMs;
    // To a full socket a ping would come too late to be answered in time; whether it drains is watched above.
    if (connection.blocked) continue;
    if (connection.unanswered >= MAX_UNANSWERED_PINGS) {
      connection.cut(CloseCode.noPong, "two pings were not answered");
      continue;
    }
    connection.unanswered++;
    const { position } = session.subscriber;
    if (pinged === undefined || pinged.position !== position) pinged = { position, frames: pingFrames(position) };
    connection.write(pinged.frames);
  }
}
