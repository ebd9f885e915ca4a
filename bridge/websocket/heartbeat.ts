import { CloseCode } from "../../contract/codes.ts";
import { pingFrames } from "../delivery/frames.ts";
import type { SocketsConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { Peer } from "./peer.ts";

type Timeouts = Pick<
  Required<SocketsConfig>,
  "authTimeoutMs" | "pingIntervalMs" | "drainTimeoutMs" | "tokenWarningMs" | "tokenGraceMs"
>;

interface HeartbeatOptions {
  timeouts: Timeouts;
  peers: { values(): Iterable<Peer> };
  onAuthTimeout: (connection: Connection) => void;
  /** The clock of tokens, milliseconds since 1970. */
  tokenNow: () => number;
  /** Called after each check. */
  onChecked: () => void;
}

/** A connection with this many unanswered pings is closed when the next ping is due. */
export const MAX_UNANSWERED_PINGS = 2;

/**
 * Starts one timer that checks all timeouts of all connections: first frames, pongs, full sockets and tokens. With ten
 * thousand idle connections, a timer for each timeout would cost more than these checks.
 */
export function startHeartbeat(options: HeartbeatOptions): () => void {
  const { authTimeoutMs, pingIntervalMs, drainTimeoutMs, tokenWarningMs, tokenGraceMs } = options.timeouts;
  const shortestMs = Math.min(authTimeoutMs, pingIntervalMs, drainTimeoutMs, tokenWarningMs, tokenGraceMs);
  const timer = setInterval(
    () => {
      check(options, performance.now(), options.tokenNow());
      options.onChecked();
    },
    Math.min(250, Math.max(5, shortestMs / 10)),
  );
  return () => clearInterval(timer);
}

/** @param now by `performance.now()`, for connections @param tokenTime milliseconds since 1970 */
function check({ peers, timeouts, onAuthTimeout }: HeartbeatOptions, now: number, tokenTime: number): void {
  let pinged: { position: number | undefined; frames: Buffer } | undefined;
  for (const { connection, session } of peers.values()) {
    if (!connection.open) continue;
    if (session === undefined) {
      if (now - connection.openedAt >= timeouts.authTimeoutMs) onAuthTimeout(connection);
      continue;
    }
    if (connection.stalledMs(now) >= timeouts.drainTimeoutMs) {
      connection.terminate(CloseCode.slow, "the client read nothing for too long");
      continue;
    }
    session.checkExpiry(tokenTime);
    if (now < connection.pingAt) continue;
    connection.pingAt = now + timeouts.pingIntervalMs;
    // A ping behind a full queue would arrive too late. The check above closes connections whose socket stays full.
    if (connection.blocked) continue;
    if (connection.unansweredPings >= MAX_UNANSWERED_PINGS) {
      connection.terminate(CloseCode.noPong, `${MAX_UNANSWERED_PINGS} pings were not answered`);
      continue;
    }
    connection.unansweredPings++;
    const { position } = session.subscriber;
    // Most clients are at the same position and share the frames.
    if (pinged === undefined || pinged.position !== position) pinged = { position, frames: pingFrames(position) };
    connection.write(pinged.frames);
  }
}
