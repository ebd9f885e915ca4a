import { grantsOf } from "../../contract/permissions.ts";
import { topicTree } from "../../contract/topics.ts";
import type { ChannelSubscription, Client } from "../client/client.ts";
import type { CommandOptions, CommandResult } from "../client/commands.ts";
import { type ConnectionQuality, qualityOf } from "../client/connection-quality.ts";
import type { ConnectionState, LossCause } from "../client/connection-state.ts";
import { browserSignals, type PageSignals, watchPage } from "../client/page-signals.ts";
import { type ProblemReporter, reportOnConsole } from "../client/problems.ts";
import type { SubscriptionState } from "../client/subscription.ts";
import {
  applyEvent,
  applyGap,
  type DashboardState,
  EMPTY_STATE,
  snapshotCompleted,
  snapshotStarted,
} from "./dashboard-state.ts";
import { OfflineCache, type TextStorage } from "./offline-cache.ts";

export interface ConnectionView {
  status: ConnectionState["status"];
  /** Since when it is so, milliseconds since 1970. */
  since: number;
  /** When the next attempt begins, while waiting for it. */
  retryAt: number | undefined;
  latencyMs: number | undefined;
  quality: ConnectionQuality;
  /** Why there is no connection. */
  cause: LossCause | undefined;
  /** Trying again by itself has been given up. */
  stopped: boolean;
}

/** What a dashboard shows. A new object after every change, the same one in between. */
export interface RealTimeData
  extends Pick<
    DashboardState,
    | "cameras"
    | "jobs"
    | "alerts"
    | "endedAlerts"
    | "services"
    | "system"
    | "metrics"
    | "events"
    | "activity"
    | "gap"
    | "newEvents"
    | "lastEventAt"
    | "leftOut"
  > {
  connection: ConnectionView;
  subscription: SubscriptionState;
  /** True when all of this is so now. Otherwise it is what was last known, and was right until `asOf`. */
  live: boolean;
  /** Until when it was known to be right, milliseconds since 1970; undefined when nothing was ever known. */
  asOf: number | undefined;
  /** False until the channel's state has arrived, or was found in the cache. */
  loaded: boolean;
  canCommand(camera: string): boolean;
  /** As {@link Client.command}. */
  command: Client["command"];
  /** Ends the wait for the next attempt, or the end of trying. */
  reconnect(): void;
}

export interface DashboardStoreOptions {
  client: Client;
  /** Default `dashboard`. */
  channel: string;
  /** Where state, place and feed are kept over a reload. Default: the browser's `localStorage`; null keeps nothing. */
  storage?: TextStorage | null;
  /** Tells caches apart that share a storage: put the server's address in it, and whose data it is. */
  cacheKey?: string;
  /** At most this often the cache is written, milliseconds. Default 1,000. */
  saveIntervalMs?: number;
  /** Changes within this time are told as one, milliseconds. Default 16. */
  notifyIntervalMs?: number;
  page?: PageSignals;
  onProblem?: ProblemReporter;
}

/** The state of one channel, kept up to date while anybody listens; the shape is what `useSyncExternalStore` wants. */
export interface DashboardStore {
  getSnapshot(): RealTimeData;
  /** The first listener subscribes to the channel, the last one to leave ends it; state and place stay. */
  subscribe(listener: () => void): () => void;
  /** Forgets what is kept over reloads, and keeps nothing more: for a sign-out. */
  forget(): void;
}

const tree = topicTree();

export function createDashboardStore({
  client,
  channel,
  storage = browserStorage(),
  cacheKey = "skylapse",
  saveIntervalMs = 1000,
  notifyIntervalMs = 16,
  page = browserSignals(),
  onProblem: report = reportOnConsole,
}: DashboardStoreOptions): DashboardStore {
  const cache = new OfflineCache({ storage: storage ?? undefined, key: `${cacheKey}:${channel}`, report });
  const listeners = new Set<() => void>();
  const restored = cache.load();
  let state = restored?.state ?? EMPTY_STATE;
  let asOf = restored?.asOf;
  let loaded = restored !== undefined && restored.cursor !== undefined;
  let cursor = restored?.cursor;
  let subscription: ChannelSubscription | undefined;
  let notifyTimer: ReturnType<typeof setTimeout> | undefined;
  let saveTimer: ReturnType<typeof setTimeout> | undefined;
  let stopWatching: Array<() => void> = [];
  let forgotten = false;
  let fresh = false;
  let view = look();

  function change(next: DashboardState): void {
    state = next;
    changed();
  }

  function changed(): void {
    notifyTimer ??= setTimeout(notify, notifyIntervalMs);
    saveTimer ??= setTimeout(save, saveIntervalMs);
  }

  function notify(): void {
    clearTimeout(notifyTimer);
    notifyTimer = undefined;
    view = look();
    for (const listener of [...listeners]) listener();
  }

  /** While a first snapshot arrives, what there is of it is of now; while a later one does, what was held may be old. */
  function isLive(): boolean {
    const status = subscription?.state.status;
    return client.state.status === "connected" && (status === "live" || (status === "snapshot" && fresh));
  }

  /** The place and the moment up to which the state stands, both of this very moment. */
  function takeStock(): void {
    if (subscription === undefined) return;
    cursor = subscription.cursor;
    if (isLive()) asOf = client.heardAt;
  }

  function save(): void {
    clearTimeout(saveTimer);
    saveTimer = undefined;
    takeStock();
    // Until the first state has arrived there is nothing to keep, and an older cache is better than none.
    if (loaded && asOf !== undefined && !forgotten) cache.save({ state, cursor, asOf });
  }

  function look(): RealTimeData {
    takeStock();
    const { retained: _retained, latest: _latest, round: _round, inSnapshot: _inSnapshot, ...shown } = state;
    const grants =
      client.state.status === "connected" ? grantsOf(client.state.session.permissions, { tree }) : undefined;
    return {
      ...shown,
      connection: connectionView(client),
      subscription: subscription?.state ?? { status: "waiting" },
      live: isLive(),
      asOf,
      loaded,
      canCommand: (camera) => grants?.canCommand(camera) ?? false,
      command: (
        camera: string,
        name: string,
        args?: Record<string, unknown>,
        options?: CommandOptions,
      ): Promise<CommandResult> => client.command(camera, name, args, options),
      reconnect: () => client.connect(),
    };
  }

  function start(): void {
    stopWatching = [
      client.onState((connection) => {
        // The moment the link is lost is the last at which the state was known to be right.
        if (connection.status !== "connected" && view.live) asOf = client.heardAt;
        notify();
      }),
      client.onLatency(changed),
      watchPage(page, { onHide: save }),
    ];
    subscription = client.subscribe(
      channel,
      {
        onEvent: (event) => change(applyEvent(state, event)),
        onSnapshot: (moment) => {
          if (moment === "started") fresh = state.retained.isEmpty;
          else loaded = true;
          change(moment === "started" ? snapshotStarted(state) : snapshotCompleted(state));
        },
        onGap: (gap) => change(applyGap(state, gap)),
        onState: ({ status }) => {
          if (status === "live") loaded = true;
          changed();
        },
      },
      { since: cursor },
    );
    if (client.state.status === "disconnected" && client.state.reason === "new") client.connect();
    notify();
  }

  function stop(): void {
    save();
    for (const stopOne of stopWatching) stopOne();
    stopWatching = [];
    subscription?.unsubscribe();
    subscription = undefined;
    clearTimeout(notifyTimer);
    clearTimeout(saveTimer);
    notifyTimer = undefined;
    saveTimer = undefined;
    view = look();
  }

  return {
    getSnapshot: () => view,
    subscribe: (listener) => {
      // A wrapper of its own, so that one function that listens twice is heard twice and leaves once.
      const entry = (): void => listener();
      listeners.add(entry);
      if (listeners.size === 1) start();
      return () => {
        if (listeners.delete(entry) && listeners.size === 0) stop();
      };
    },
    forget: () => {
      forgotten = true;
      cache.clear();
    },
  };
}

function connectionView(client: Client): ConnectionView {
  const { state, latencyMs } = client;
  return {
    status: state.status,
    since: state.since,
    retryAt: state.status === "connecting" ? state.retryAt : undefined,
    latencyMs,
    quality: qualityOf(latencyMs),
    cause: state.status === "connected" ? undefined : state.cause,
    stopped: state.status === "disconnected" && state.reason === "stopped",
  };
}

/** The browser's `localStorage`, where there is one and it may be used: a reload and a new tab find the same. */
export function browserStorage(): TextStorage | null {
  try {
    return typeof localStorage === "undefined" ? null : localStorage;
  } catch {
    // A page that may not keep anything is told so by an exception.
    return null;
  }
}
