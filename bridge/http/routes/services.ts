import type { IncomingMessage } from "node:http";
import type { Logger } from "pino";
import type { CustomChannels } from "../../../contract/channels.ts";
import type { TopicTree } from "../../../contract/topics.ts";
import type { Audit } from "../../auth/audit.ts";
import type { Authority } from "../../auth/authority.ts";
import type { LoginGuard } from "../../auth/login-guard.ts";
import type { Publish } from "../../broker-link/publish.ts";
import type { PresenceService } from "../../cameras/presence.ts";
import type { ServerClock } from "../../clock/server-clock.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import type { CommandRunner } from "../../commands/command-relay.ts";
import type { Journal } from "../../journal/journal.ts";
import type { Previews } from "../../previews/previews.ts";
import type { Stats } from "../../stats/stats.ts";
import type { Sockets } from "../../websocket/sockets.ts";
import type { HttpConfig } from "../config.ts";
import type { Callers } from "./callers.ts";

/** What the routes work with. */
export interface Services {
  http: HttpConfig;
  callers: Callers;
  addressOf: (request: IncomingMessage) => string;
  authority: Pick<Authority, "mint" | "accounts" | "revocations" | "sessions" | "devices">;
  guard: Pick<LoginGuard, "attempt" | "welcome">;
  audit: Pick<Audit, "record" | "refuse">;
  journal: Journal;
  tree: TopicTree;
  channels: CustomChannels;
  publish: Publish;
  sockets: Pick<Sockets, "connections" | "stats" | "channelCounts" | "subscribers" | "closeConnection">;
  relay: CommandRunner;
  presence: Pick<PresenceService, "of">;
  previews: Pick<Previews, "newest" | "list" | "overview" | "read">;
  stats: Stats;
  cluster: Pick<Cluster, "nodeId" | "nodes" | "signals">;
  clock: Pick<ServerClock, "now" | "jump" | "accept">;
  version: string;
  /** Why the server is not to be sent work now; undefined when it is. */
  unavailableReason: () => string | undefined;
  /** The same after a look at the store, by a write. */
  checkStore: () => Promise<string | undefined>;
  /** What an operator is to know though the server works. It is told to everybody: without names and secrets. */
  notices: () => readonly string[];
  /** Figures of the parts, for `/stats`. */
  metrics: () => Record<string, unknown>;
  logger: Logger;
}

/** What the routes need that manage users, devices and tokens: they work without a server, too. */
export type OperatorServices = Pick<Services, "http" | "addressOf" | "audit" | "channels"> & {
  callers: Pick<Callers, "of" | "orLocal">;
  authority: Pick<Authority, "mint" | "accounts" | "revocations" | "sessions" | "devices">;
  stats: Pick<Stats, "add">;
};

/** A named limit of one route for one address, instead of the general one. */
export function perMinute(max: number) {
  return { config: { rateLimit: Number.isFinite(max) ? ({ max, timeWindow: 60_000 } as const) : (false as const) } };
}
