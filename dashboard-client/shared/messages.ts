import type { DashboardEvent, Since } from "../../contract/socket-messages.ts";
import type { CommandResult } from "../client/commands.ts";
import type { ConnectionState } from "../client/connection-state.ts";
import type { ReportedGap, SubscriptionState } from "../client/subscription.ts";

/** Tabs of different versions of these messages do not share a connection: the number is a part of the channel's name. */
export const MESSAGES_VERSION = 1;

/** A call of a `SubscriptionListener`. */
export type ListenerCall =
  | { kind: "event"; event: DashboardEvent }
  | { kind: "snapshot"; moment: "started" | "completed" }
  | { kind: "gap"; gap: ReportedGap }
  | { kind: "state"; state: SubscriptionState }
  | { kind: "lagging" };

/** The leader's connection. */
export interface LeaderStatus {
  state: ConnectionState;
  heardAt: number | undefined;
  latencyMs: number | undefined;
}

/** An error of a command. A `BroadcastChannel` copies no classes. */
export interface SentError {
  name: string;
  message: string;
  code: number | undefined;
}

/** From a tab to the leader. `tab` is the id of the tab. */
export type ToLeader = { tab: string } & (
  | { type: "ask" }
  /** Connects, also if the client does not retry by itself. */
  | { type: "connect" }
  /** The tab is shown again, or the network has returned: a wait for the next attempt ends. */
  | { type: "wake" }
  | { type: "join"; channel: string; since: Since | undefined }
  | { type: "leave"; channel: string }
  | {
      type: "command";
      id: number;
      camera: string;
      name: string;
      args: Record<string, unknown>;
      expiresIn: number | undefined;
    }
);

/** From the leader to tabs. `leader` is new whenever a tab begins to lead; `to` is the id of a tab, if it is for one tab only. */
export type FromLeader = {
  leader: string;
  to?: string;
} /** Sent when a tab begins to lead, after each change of the connection, and as the answer to `ask`. */ & (
  | { type: "status"; status: LeaderStatus }
  /** From now on, each `call` of the channel is for this tab, too. `recent`: the events after the tab's cursor so far. */
  | {
      type: "joined";
      channel: string;
      recent: readonly DashboardEvent[];
      cursor: Since | undefined;
      state: SubscriptionState;
      /** The number of the channel's last `call`. */
      calls: number;
    }
  /** The leader does not have all events after the tab's cursor, or the tab has no cursor. */
  | { type: "uncovered"; channel: string }
  /** `cursor`: after the call. `number`: counts the calls of the channel, so that a tab notices a missing one. */
  | { type: "call"; channel: string; call: ListenerCall; cursor: Since | undefined; number: number }
  | { type: "command_progress"; id: number; progress: CommandResult }
  | { type: "command_result"; id: number; result: CommandResult }
  | { type: "command_failed"; id: number; error: SentError }
);

/** From a tab to all other tabs. */
export interface Restart {
  type: "restart";
}

export type TabMessage = ToLeader | FromLeader | Restart;
