import type { Since } from "../../contract/socket-messages.ts";
import type { ChannelSubscription, Client } from "../client/client.ts";
import type { CommandOptions } from "../client/commands.ts";
import type { SubscriptionListener } from "../client/subscription.ts";
import type { FromLeader, LeaderStatus, ListenerCall, SentError, ToLeader } from "./messages.ts";
import { RecentEvents } from "./recent-events.ts";

interface SharedChannel {
  subscription: ChannelSubscription;
  recent: RecentEvents;
  /** The cursor of the tab that joined first. */
  since: Since | undefined;
  /** Nothing has been delivered yet. */
  isFresh: boolean;
  calls: number;
  /** The ids of the tabs that have joined. */
  tabs: Set<string>;
}

interface LeaderOptions {
  /** A new id. */
  id: string;
  client: Client;
  /** Sends to all tabs, also to this one. */
  post: (message: FromLeader) => void;
  /** Calls back once the tab is closed or has crashed. */
  whenClosed: (tab: string, then: () => void) => void;
}

/** The tab with the connection: it has one subscription for each channel, and tells all tabs what arrives. */
export class Leader {
  readonly #options: LeaderOptions;
  readonly #channels = new Map<string, SharedChannel>();
  readonly #tabs = new Set<string>();
  #isStopped = false;

  constructor(options: LeaderOptions) {
    this.#options = options;
  }

  start(): void {
    const { client } = this.#options;
    client.onState(() => this.#postStatus());
    client.onLatency(() => this.#postStatus());
    this.#postStatus();
  }

  /** Sends nothing any more: the tabs follow another leader. */
  stop(): void {
    this.#isStopped = true;
    this.#channels.clear();
    this.#options.client.close();
  }

  receive(message: ToLeader): void {
    const { client } = this.#options;
    switch (message.type) {
      case "ask":
        this.#postStatus(message.tab);
        break;
      case "connect":
        if (client.state.status !== "connected") client.connect();
        break;
      case "wake":
        if (client.state.status === "connecting") client.connect();
        break;
      case "join":
        this.#join(message.tab, message.channel, message.since);
        break;
      case "leave":
        this.#leave(message.tab, message.channel);
        break;
      case "command":
        this.#command(message);
        break;
    }
  }

  #join(tab: string, channel: string, since: Since | undefined): void {
    this.#watch(tab);
    const known = this.#channels.get(channel);
    const shared = known ?? this.#subscribe(channel, since);
    const isSame = shared.isFresh && JSON.stringify(shared.since) === JSON.stringify(since);
    const recent = isSame ? [] : shared.recent.after(since);
    const { id: leader, post } = this.#options;
    if (recent === undefined) {
      post({ leader, to: tab, type: "uncovered", channel });
      return;
    }
    shared.tabs.add(tab);
    const { cursor, state } = shared.subscription;
    post({ leader, to: tab, type: "joined", channel, recent, cursor, state, calls: shared.calls });
  }

  #subscribe(channel: string, since: Since | undefined): SharedChannel {
    const recent = new RecentEvents();
    recent.start(since);
    const call = (listenerCall: ListenerCall): void => this.#called(channel, listenerCall);
    const listener: Required<SubscriptionListener> = {
      onEvent: (event) => call({ kind: "event", event }),
      onSnapshot: (moment) => call({ kind: "snapshot", moment }),
      onGap: (gap) => call({ kind: "gap", gap }),
      onState: (state) => call({ kind: "state", state }),
      onLagging: () => call({ kind: "lagging" }),
    };
    const subscription = this.#options.client.subscribe(channel, listener, { since });
    const shared: SharedChannel = { subscription, recent, since, isFresh: true, calls: 0, tabs: new Set() };
    this.#channels.set(channel, shared);
    return shared;
  }

  #called(channel: string, call: ListenerCall): void {
    const shared = this.#channels.get(channel);
    // A call during `subscribe` itself, or after the end.
    if (shared === undefined) return;
    const { cursor } = shared.subscription;
    if (call.kind !== "state") shared.isFresh = false;
    if (call.kind === "snapshot" && call.moment === "started") shared.recent.start(undefined);
    else if (!shared.recent.isStarted && call.kind !== "event") shared.recent.start(cursor);
    else if (call.kind === "event" && call.event.snapshot !== true && cursor !== undefined)
      shared.recent.add(call.event, cursor);
    // Copying an event for other tabs costs more time than all else that happens with it.
    const [first] = shared.tabs;
    const to = shared.tabs.size === 1 && first !== undefined ? { to: first } : {};
    const { id: leader, post } = this.#options;
    post({ leader, ...to, type: "call", channel, call, cursor, number: ++shared.calls });
  }

  #leave(tab: string, channel: string): void {
    const shared = this.#channels.get(channel);
    if (shared?.tabs.delete(tab) !== true || shared.tabs.size > 0) return;
    this.#channels.delete(channel);
    shared.subscription.unsubscribe();
  }

  #watch(tab: string): void {
    if (this.#tabs.has(tab)) return;
    this.#tabs.add(tab);
    this.#options.whenClosed(tab, () => {
      this.#tabs.delete(tab);
      for (const channel of [...this.#channels.keys()]) this.#leave(tab, channel);
    });
  }

  #command({ tab, id, camera, name, args, expiresIn }: Extract<ToLeader, { type: "command" }>): void {
    const { client, id: leader, post } = this.#options;
    const options: CommandOptions = {
      ...(expiresIn === undefined ? {} : { expiresIn }),
      onProgress: (progress) => post({ leader, to: tab, type: "command_progress", id, progress }),
    };
    client.command(camera, name, args, options).then(
      (result) => post({ leader, to: tab, type: "command_result", id, result }),
      (error: unknown) => post({ leader, to: tab, type: "command_failed", id, error: sent(error) }),
    );
  }

  #postStatus(to?: string): void {
    if (this.#isStopped) return;
    const { id: leader, client, post } = this.#options;
    const { state, heardAt, latencyMs } = client;
    const status: LeaderStatus = { state, heardAt, latencyMs };
    post({ leader, ...(to === undefined ? {} : { to }), type: "status", status });
  }
}

function sent(error: unknown): SentError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error), code: undefined };
  return { name: error.name, message: error.message, code: "code" in error ? Number(error.code) : undefined };
}
