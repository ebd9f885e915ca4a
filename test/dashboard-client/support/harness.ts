import { onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import type { DashboardEvent, Since } from "../../../contract/socket-messages.ts";
import type { ChannelSubscription, Client, ClientOptions } from "../../../dashboard-client/client/client.ts";
import { createClient } from "../../../dashboard-client/client/client.ts";
import type { Problem } from "../../../dashboard-client/client/problems.ts";
import type { ReportedGap, SubscriptionState } from "../../../dashboard-client/client/subscription.ts";
import { type ProtocolServer, startProtocolServer } from "./protocol-server.ts";

export async function serve(): Promise<ProtocolServer> {
  const server = await startProtocolServer();
  onTestFinished(() => server.stop());
  return server;
}

export interface TestClient {
  client: Client;
  problems: Problem[];
  /** How often getToken was called. */
  tokens: () => number;
}

/** A client that retries after a few milliseconds and records its problems. */
export function connect(url: string, options: Partial<ClientOptions> = {}): TestClient {
  const problems: Problem[] = [];
  let tokens = 0;
  const client = createClient({
    url,
    getToken: () => `token-${++tokens}`,
    WebSocket,
    backoff: { minDelayMs: 5, maxDelayMs: 20 },
    latencyIntervalMs: 0,
    onProblem: (problem) => problems.push(problem),
    ...options,
  });
  onTestFinished(() => client.close());
  client.connect();
  return { client, problems, tokens: () => tokens };
}

export function until(holds: () => boolean): Promise<void> {
  return vi.waitUntil(holds, { interval: 2 }).then(() => {});
}

export function untilConnected(client: Client): Promise<void> {
  return until(() => client.state.status === "connected");
}

export interface Followed {
  subscription: ChannelSubscription;
  events: DashboardEvent[];
  /** The positions of the events that are not part of a snapshot. */
  positions: () => number[];
  snapshots: string[];
  gaps: ReportedGap[];
  states: SubscriptionState["status"][];
}

export function follow(client: Client, channel = "dashboard", since?: Since): Followed {
  const events: DashboardEvent[] = [];
  const gaps: ReportedGap[] = [];
  const snapshots: string[] = [];
  const states: SubscriptionState["status"][] = [];
  const subscription = client.subscribe(
    channel,
    {
      onEvent: (event) => events.push(event),
      onSnapshot: (moment) => snapshots.push(moment),
      onGap: (gap) => gaps.push(gap),
      onState: ({ status }) => states.push(status),
    },
    { since },
  );
  const positions = (): number[] => events.filter(({ snapshot }) => snapshot !== true).map(({ position }) => position);
  return { subscription, events, positions, snapshots, gaps, states };
}

export function untilLive({ subscription }: Followed): Promise<void> {
  return until(() => subscription.state.status === "live");
}
