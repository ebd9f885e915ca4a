import type { IncomingMessage } from "node:http";
import type { Logger } from "pino";
import type { CustomChannels } from "../../contract/channels.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { ClientAddresses } from "../../platform/client-addresses.ts";
import type { MqttAddress } from "../../platform/mqtt-address.ts";
import type { Audit } from "../auth/audit.ts";
import type { Authority } from "../auth/authority.ts";
import type { LoginGuard } from "../auth/login-guard.ts";
import type { createSignInValues, SignIn } from "../auth/sign-in.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { CameraRecords } from "../cameras/camera-records.ts";
import type { DesiredStates } from "../cameras/desired/desired-store.ts";
import type { PresenceService } from "../cameras/presence.ts";
import type { ServerClock } from "../clock/server-clock.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { CommandRunner } from "../commands/command-relay.ts";
import type { Archive } from "../journal/archive/archive.ts";
import type { Journal } from "../journal/journal.ts";
import type { Previews } from "../previews/previews.ts";
import type { LatencyView } from "../stats/latencies.ts";
import type { Stats } from "../stats/stats.ts";
import type { Sockets } from "../websocket/sockets.ts";
import type { Callers } from "./callers.ts";
import type { HttpConfig } from "./config.ts";
import type { Metrics } from "./metrics.ts";

interface EventTimes {
  receivedAt: number;
  durableAt: number;
}

export interface Services {
  http: HttpConfig;
  callers: Callers;
  addressOf: (request: IncomingMessage) => string;
  authority: Pick<
    Authority,
    "mint" | "accounts" | "cameraGroups" | "revocations" | "sessions" | "devices" | "integrations" | "setupCode"
  >;
  operatorKey: string | undefined;
  /** Whether requests from this machine need no token now. */
  isTrial: () => boolean;
  /** Where devices connect; undefined when this is not known. */
  mqttAddress?: (() => MqttAddress | undefined) | undefined;
  addresses: Pick<ClientAddresses, "trusts">;
  guard: Pick<LoginGuard, "attempt" | "recordRefresh">;
  /** The sign-in with an identity provider; undefined without `OIDC_ISSUER`. */
  signIn: SignIn | undefined;
  /** Signs the values that a browser keeps during a sign-in. */
  signing: Parameters<typeof createSignInValues>[0];
  audit: Pick<Audit, "record" | "refuse" | "recent">;
  journal: Journal;
  archive: Pick<Archive, "page" | "find" | "readings" | "coverage" | "storedAt" | "status">;
  /** When this node worked on an event, by `performance.now()`; undefined when this is not known. */
  eventTimes: (position: number) => Readonly<EventTimes> | undefined;
  tree: TopicTree;
  channels: CustomChannels;
  publish: Publish;
  sockets: Pick<
    Sockets,
    "connections" | "stats" | "channelCounts" | "subscribers" | "closeConnection" | "liveDeliveryOf"
  >;
  relay: CommandRunner;
  desired: Pick<DesiredStates, "set">;
  presence: Pick<PresenceService, "of">;
  records: Pick<CameraRecords, "get" | "update" | "remove">;
  previews: Pick<Previews, "newest" | "list" | "overview" | "read">;
  stats: Stats;
  cluster: Pick<Cluster, "nodeId" | "nodes" | "signals" | "disagreements" | "rates">;
  clock: Pick<ServerClock, "now" | "jump" | "accept">;
  version: string;
  /** Why the server must get no work now; undefined when it is ready. */
  unavailableReason: () => string | undefined;
  /** Tests the store by a write. Resolves to the reason why the store accepts no writes, or to undefined. */
  checkStore: () => Promise<string | undefined>;
  /** Messages for the operator. Everybody can read them, so they name no user and no secret. */
  notices: () => readonly string[];
  /** The latencies of events, for `/stats`. */
  latencies: () => Promise<Record<string, LatencyView | undefined>>;
  /** When the data was copied last; undefined when this is not known. */
  lastBackupAt: () => Promise<string | undefined>;
  /** The counts of the parts, for `/stats`. */
  counts: () => Record<string, unknown>;
  metrics: Metrics;
  /** The log of the program. Setting the level changes it for all parts. */
  log: { level: string };
  logger: Logger;
}

/** The services of the routes for users, devices and tokens, which also work without a server. */
export type OperatorServices = Pick<
  Services,
  "http" | "addressOf" | "channels" | "authority" | "records" | "mqttAddress"
> & {
  audit: Pick<Audit, "record" | "refuse">;
  callers: Pick<Callers, "of" | "orLocal">;
  stats: Pick<Stats, "add">;
};
