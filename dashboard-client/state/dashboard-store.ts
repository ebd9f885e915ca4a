import { grantsOf } from "../../contract/permissions.ts";
import { topicTree } from "../../contract/topics.ts";
import type { ChannelSubscription, Client } from "../client/client.ts";
import type { CommandOptions, CommandResult } from "../client/commands.ts";
import { type ConnectionQuality, qualityOf } from "../client/connection-quality.ts";
import type { ConnectionState, LossCause } from "../client/connection-state.ts";
import { Listeners } from "../client/listeners.ts";
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
  /** When the status began, milliseconds since 1970. */
  since: number;
  /**
   * When the next attempt begins, milliseconds since 1970. Undefined while the client is not waiting for an attempt.
   */
  retryAt: number | undefined;
  latencyMs: number | undefined;
  quality: ConnectionQuality;
  /** Why there is no connection. Undefined with a connection. */
  cause: LossCause | undefined;
  /** The client no longer retries by itself. */
  stopped: boolean;
}

/** The data that a dashboard shows. Every change produces a new object; without a change, the object stays the same. */
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
  /** True if the data is current. If false, this is the last known data, which was right until `asOf`. */
  live: boolean;
  /** When the data was last known to be right, milliseconds since 1970. Undefined if there has never been any data. */
  asOf: number | undefined;
  /** The state of the channel has arrived, or was found in the cache. */
  loaded: boolean;
  canCommand(camera: string): boolean;
  /** Sends a command to a camera: see {@link Client.command}. */
  command: Client["command"];
  /** Connects now, also if the client no longer retries by itself. */
  reconnect(): void;
}

export interface DashboardStoreOptions {
  client: Client;
  channel: string;
  /** Where the state is cached across a reload. Null caches nothing. Default: the `localStorage` of the browser. */
  storage?: TextStorage | null;
  /** Distinguishes caches that share a storage: include the address of the server and the user. Default `skylapse`. */
  cacheKey?: string;
  /** The shortest time between two writes of the cache, milliseconds. Default 1,000. */
  saveIntervalMs?: number;
  /** Listeners are called once for all changes within this time, milliseconds. Default 16. */
  notifyIntervalMs?: number;
  page?: PageSignals;
  onProblem?: ProblemReporter;
}

/** The state of one channel. It is updated while there are listeners. Fits React's `useSyncExternalStore`. */
export interface DashboardStore {
  getSnapshot(): RealTimeData;
  /** The first listener starts the subscription to the channel, and removing the last one ends it. The state stays. */
  subscribe(listener: () => void): () => void;
  /** Deletes the cache and caches nothing from now on. For a sign-out. */
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
  const listeners = new Listeners<void>(report);
  const restored = cache.load();
  let state = restored?.state ?? EMPTY_STATE;
  let asOf = restored?.asOf;
  let loaded = restored !== undefined && restored.cursor !== undefined;
  let cursor = restored?.cursor;
  let subscription: ChannelSubscription | undefined;
  let notifyTimer: ReturnType<typeof setTimeout> | undefined;
  let saveTimer: ReturnType<typeof setTimeout> | undefined;
  let stopWatching: Array<() => void> = [];
  let isForgotten = false;
  let isFirstSnapshot = false;
  let view = currentView();

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
    view = currentView();
    listeners.call();
  }

  /**
   * During the first snapshot, all state that has arrived is current. During a later snapshot, state from before it may
   * be outdated.
   */
  function isLive(): boolean {
    const status = subscription?.state.status;
    return client.state.status === "connected" && (status === "live" || (status === "snapshot" && isFirstSnapshot));
  }

  /** Updates the cursor, and the time until which the state was right. */
  function updateCursor(): void {
    if (subscription === undefined) return;
    cursor = subscription.cursor;
    if (isLive()) asOf = client.heardAt;
  }

  function save(): void {
    clearTimeout(saveTimer);
    saveTimer = undefined;
    updateCursor();
    // Until the state has arrived, an older cache is better than an empty one.
    if (loaded && asOf !== undefined && !isForgotten) cache.save({ state, cursor, asOf });
  }

  function currentView(): RealTimeData {
    updateCursor();
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
        // The state was last known to be right when the connection was lost.
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
          if (moment === "started") isFirstSnapshot = state.retained.isEmpty;
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
    view = currentView();
  }

  return {
    getSnapshot: () => view,
    subscribe: (listener) => {
      const remove = listeners.add(listener);
      if (listeners.size === 1) start();
      return () => {
        const sizeBefore = listeners.size;
        remove();
        if (listeners.size === 0 && sizeBefore > 0) stop();
      };
    },
    forget: () => {
      isForgotten = true;
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

/** The `localStorage` of the browser, which a reload and other tabs share. Null if it cannot be used. */
export function browserStorage(): TextStorage | null {
  try {
    return typeof localStorage === "undefined" ? null : localStorage;
  } catch {
    // Browsers throw if their settings forbid the storage.
    return null;
  }
}
