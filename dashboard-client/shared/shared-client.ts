import type { Since } from "../../contract/socket-messages.ts";
import { type ChannelSubscription, type Client, type ClientOptions, createClient } from "../client/client.ts";
import type { CommandOptions, CommandResult } from "../client/commands.ts";
import type { ConnectionState } from "../client/connection-state.ts";
import { AlreadySubscribedError, ClientClosedError, NotConnectedError } from "../client/errors.ts";
import { browserSignals, watchPage } from "../client/page-signals.ts";
import { type ProblemReporter, reportOnConsole } from "../client/problems.ts";
import type { SubscriptionListener } from "../client/subscription.ts";
import { Election } from "./election.ts";
import { Leader } from "./leader.ts";
import { type FromLeader, MESSAGES_VERSION, type TabMessage, type ToLeader } from "./messages.ts";
import { PendingCommands } from "./pending-commands.ts";
import { watchTab } from "./tab-life.ts";
import { TabStatus } from "./tab-status.ts";
import { TabSubscription } from "./tab-subscription.ts";

/** Time between two questions whether the leader is there, milliseconds. */
const ASK_INTERVAL_MS = 300;
/** A visible tab takes the lead after this number of unanswered questions. */
const MAX_UNANSWERED = 3;
const MAX_FORMER_LEADERS = 16;

export interface SharedClientOptions extends ClientOptions {
  /** Called when another tab has called `restartTabs`: the user has signed out, for example. */
  onRestart?: () => void;
}

export interface SharedClient extends Client {
  /** Calls `onRestart` in all other tabs. */
  restartTabs(): void;
}

/**
 * A client whose connection all tabs of this browser share. Each tab gets each event once and in order, and sends
 * commands. One tab leads: it has the connection. If it is closed, crashes, navigates away or freezes, another tab leads,
 * and resumes from its own cursor. `getToken` is called only in the tab that leads.
 *
 * Without Web Locks (browsers have them only with https, and on localhost) or `BroadcastChannel`, each tab has a connection
 * of its own.
 */
export function createSharedClient(options: SharedClientOptions): SharedClient {
  const canShare = typeof navigator !== "undefined" && "locks" in navigator && typeof BroadcastChannel !== "undefined";
  return canShare ? new TabClient(options) : Object.assign(createClient(options), { restartTabs: () => {} });
}

class TabClient implements SharedClient {
  readonly #options: SharedClientOptions;
  readonly #report: ProblemReporter;
  readonly #id = Math.random().toString(36).slice(2);
  readonly #name: string;
  readonly #tabs: BroadcastChannel;
  readonly #election: Election;
  readonly #status: TabStatus;
  readonly #commands: PendingCommands;
  readonly #subscriptions = new Map<string, TabSubscription>();
  readonly #stopWatching: () => void;
  readonly #askTimer: ReturnType<typeof setInterval>;
  #end = (): void => {};
  #leader: Leader | undefined;
  /** How often this tab has begun to lead. */
  #leads = 0;
  /** The leader that this tab follows. */
  #leaderId: string | undefined;
  /** The leaders that this tab followed before. One that was frozen may still send messages. */
  readonly #formerIds: string[] = [];
  #unanswered = 0;
  #mustConnect = false;
  /** The connection of this tab for subscriptions that the leader cannot serve yet. */
  #own: Client | undefined;

  constructor(options: SharedClientOptions) {
    this.#options = options;
    this.#report = options.onProblem ?? reportOnConsole;
    this.#status = new TabStatus(this.#report);
    this.#commands = new PendingCommands(this.#report);
    this.#name = `skylapse-tabs-${MESSAGES_VERSION} ${options.url}`;
    this.#tabs = new BroadcastChannel(this.#name);
    this.#tabs.onmessage = ({ data }: MessageEvent<TabMessage>) => this.#receive(data);
    // Held until the tab ends, so that the leader notices the end.
    const ended = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    void navigator.locks.request(this.#lockOf(this.#id), () => ended).catch(() => {});
    this.#election = new Election({ name: this.#name, onLead: () => this.#lead(), onLost: () => this.#lost() });
    this.#election.enter();
    this.#askTimer = setInterval(() => this.#ask(), ASK_INTERVAL_MS);
    const stopPage = watchPage(options.page ?? browserSignals(), { onAwake: () => this.#awake() });
    const stopTab = watchTab({ onLeave: () => this.#leave(), onReturn: () => this.#return() });
    this.#stopWatching = () => {
      stopPage();
      stopTab();
    };
    this.#send({ tab: this.#id, type: "ask" });
  }

  get state(): ConnectionState {
    return this.#status.state;
  }

  get heardAt(): number | undefined {
    return this.#status.heardAt;
  }

  get latencyMs(): number | undefined {
    return this.#status.latencyMs;
  }

  connect(): void {
    if (this.#status.isClosed) throw new ClientClosedError();
    this.#mustConnect = true;
    this.#send({ tab: this.#id, type: "connect" });
  }

  close(): void {
    if (this.#status.isClosed) return;
    this.#stopWatching();
    clearInterval(this.#askTimer);
    for (const channel of [...this.#subscriptions.keys()]) this.#unsubscribe(channel);
    this.#leave();
    this.#own?.close();
    this.#commands.lost();
    this.#end();
    this.#tabs.close();
    this.#status.close();
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    return this.#status.onState(listener);
  }

  onLatency(listener: (latencyMs: number) => void): () => void {
    return this.#status.onLatency(listener);
  }

  subscribe(
    channel: string,
    listener: SubscriptionListener,
    { since }: { since?: Since | undefined } = {},
  ): ChannelSubscription {
    if (this.#status.isClosed) throw new ClientClosedError();
    if (this.#subscriptions.has(channel))
      throw new AlreadySubscribedError(`${channel} has a subscription already: share it, or end it first`);
    const join = (cursor: Since | undefined): void =>
      this.#send({ tab: this.#id, type: "join", channel, since: cursor });
    const subscription = new TabSubscription({ channel, listener, since, join, report: this.#report });
    this.#subscriptions.set(channel, subscription);
    subscription.join();
    return {
      channel,
      get state() {
        return subscription.state;
      },
      get cursor() {
        return subscription.cursor;
      },
      unsubscribe: () => {
        if (this.#subscriptions.get(channel) === subscription) this.#unsubscribe(channel);
      },
    };
  }

  command(
    camera: string,
    name: string,
    args: Record<string, unknown> = {},
    { expiresIn, onProgress }: CommandOptions = {},
  ): Promise<CommandResult> {
    if (this.state.status !== "connected") return Promise.reject(new NotConnectedError());
    return this.#commands.add(onProgress, (id) =>
      this.#send({ tab: this.#id, type: "command", id, camera, name, args, expiresIn }),
    );
  }

  restartTabs(): void {
    this.#tabs.postMessage({ type: "restart" } satisfies TabMessage);
  }

  #unsubscribe(channel: string): void {
    this.#subscriptions.get(channel)?.end();
    this.#subscriptions.delete(channel);
    this.#send({ tab: this.#id, type: "leave", channel });
    this.#closeOwn();
  }

  #lead(): void {
    const { onRestart: _onRestart, ...options } = this.#options;
    this.#leader = new Leader({
      id: `${this.#id}/${++this.#leads}`,
      client: createClient(options),
      post: (message) => {
        // To this tab first: a message for one tab only need not be copied.
        if (message.to !== this.#id) this.#tabs.postMessage(message);
        if (message.to === undefined || message.to === this.#id) this.#receive(message);
      },
      whenClosed: (tab, then) => void navigator.locks.request(this.#lockOf(tab), then).catch(() => {}),
    });
    this.#leader.start();
  }

  #lockOf(tab: string): string {
    return `${this.#name} ${tab}`;
  }

  /** Another tab has taken the lead, because this tab was frozen. */
  #lost(): void {
    this.#stopLeading();
    // This tab may already follow the other one, and has then tried to join its own connection.
    for (const subscription of this.#subscriptions.values()) subscription.join();
  }

  #stopLeading(): void {
    this.#leader?.stop();
    this.#leader = undefined;
  }

  #leave(): void {
    this.#stopLeading();
    this.#election.leave();
  }

  #return(): void {
    this.#election.enter();
    for (const subscription of this.#subscriptions.values()) subscription.join();
  }

  #send(message: ToLeader): void {
    if (this.#leader === undefined) this.#tabs.postMessage(message);
    else this.#leader.receive(message);
  }

  #receive(message: TabMessage): void {
    if ("tab" in message) this.#leader?.receive(message);
    else if (message.type === "restart") this.#options.onRestart?.();
    else if (message.to === undefined || message.to === this.#id) this.#fromLeader(message);
  }

  #ask(): void {
    if (this.#leader !== undefined) return;
    const { visibilityState } = this.#options.page?.document ?? document;
    // The browser delays the timers of a hidden tab.
    if (visibilityState === "visible" && ++this.#unanswered > MAX_UNANSWERED) {
      this.#unanswered = 0;
      this.#election.steal();
    } else this.#send({ tab: this.#id, type: "ask" });
  }

  #awake(): void {
    this.#send({ tab: this.#id, type: "wake" });
    this.#ask();
  }

  /** @returns false if the message is of a former leader */
  #follow(leader: string): boolean {
    if (this.#formerIds.includes(leader)) return false;
    if (this.#leaderId !== undefined) this.#formerIds.push(this.#leaderId);
    if (this.#formerIds.length > MAX_FORMER_LEADERS) this.#formerIds.shift();
    this.#leaderId = leader;
    this.#commands.lost();
    if (this.#mustConnect) this.#send({ tab: this.#id, type: "connect" });
    for (const subscription of this.#subscriptions.values()) subscription.join();
    return true;
  }

  #ownClient(): Client {
    if (this.#own === undefined) {
      const { onRestart: _onRestart, ...options } = this.#options;
      this.#own = createClient(options);
      this.#own.connect();
    }
    return this.#own;
  }

  #closeOwn(): void {
    if ([...this.#subscriptions.values()].some(({ hasOwn }) => hasOwn)) return;
    this.#own?.close();
    this.#own = undefined;
  }

  #fromLeader(message: FromLeader): void {
    // A tab that was frozen does not know yet that it leads no more.
    if (message.leader !== this.#leaderId && (message.type !== "status" || !this.#follow(message.leader))) return;
    this.#unanswered = 0;
    switch (message.type) {
      case "status":
        this.#status.set(message.status);
        for (const subscription of this.#subscriptions.values()) if (subscription.hasOwn) subscription.join();
        break;
      case "joined":
        this.#subscriptions.get(message.channel)?.joined(message);
        this.#closeOwn();
        break;
      case "uncovered":
        this.#subscriptions.get(message.channel)?.uncovered(() => this.#ownClient());
        break;
      case "call":
        this.#status.heard();
        this.#subscriptions.get(message.channel)?.called(message);
        break;
      default:
        this.#commands.answered(message);
    }
  }
}
