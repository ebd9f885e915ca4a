import { type ChannelGrants, channelGrantsOf } from "../../contract/permissions.ts";
import type { Since } from "../../contract/socket-messages.ts";
import type { ChannelSubscription, Client } from "../client/client.ts";
import { type ConnectionQuality, qualityOf } from "../client/connection-quality.ts";
import type { ConnectionState, LossCause } from "../client/connection-state.ts";
import { Listeners } from "../client/listeners.ts";
import { browserSignals, type PageSignals, watchPage } from "../client/page-signals.ts";
import { type ProblemReporter, reportOnConsole } from "../client/problems.ts";
import type { SubscriptionState } from "../client/subscription.ts";
import type { DashboardState } from "./dashboard-state.ts";
import { applyEvent, applyGap, EMPTY_STATE, snapshotCompleted, snapshotStarted } from "./dashboard-state.ts";
import { OfflineCache, type TextStorage } from "./offline-cache.ts";
import { browserStateStorage, type StateStorage } from "./state-storage.ts";

export interface ConnectionView {
  status: ConnectionState["status"];
  /** When the status began, milliseconds since 1970. */
  since: number;
  /** When the next attempt begins, milliseconds since 1970. Undefined unless the client waits for an attempt. */
  retryAt: number | undefined;
  latencyMs: number | undefined;
  quality: ConnectionQuality;
  cause: LossCause | undefined;
  /** The client does not retry by itself. */
  stopped: boolean;
}

/** The data that a dashboard shows. Every change produces a new object. */
export interface RealTimeData extends Omit<DashboardState, "retained" | "latest" | "round" | "inSnapshot"> {
  connection: ConnectionView;
  subscription: SubscriptionState;
  /** True if the data is current. Otherwise the data was current until `asOf`. */
  live: boolean;
  /** When the data was last known to be current, milliseconds since 1970. Undefined before any data has arrived. */
  asOf: number | undefined;
  /** The state of the channel has arrived, or was found in the cache. */
  loaded: boolean;
  canCommand(camera: string): boolean;
  /** What the token allows. Nothing without a connection. */
  grants: ChannelGrants;
  command: Client["command"];
  /** Connects now, also if the client does not retry by itself. */
  reconnect(): void;
}

export interface DashboardStoreOptions {
  client: Client;
  channel: string;
  /** The cache for a reload. Null: no cache. Default: the IndexedDB of the browser. */
  storage?: StateStorage | null;
  /** Distinguishes caches in one storage: include the server's address and the user. Default `skylapse`. */
  cacheKey?: string;
  /** The shortest time between two writes of the cache, milliseconds. Default 1,000. */
  saveIntervalMs?: number;
  /** Listeners are called once for all changes within this time, milliseconds. Default 16. */
  notifyIntervalMs?: number;
  page?: PageSignals;
  onProblem?: ProblemReporter;
}

/** The state of one channel, which is updated while there are listeners. For React's `useSyncExternalStore`. */
export interface DashboardStore {
  getSnapshot(): RealTimeData;
  /** The first listener starts the subscription to the channel, once the cache has been read. Removing the last listener
   * ends it, and keeps the state. */
  subscribe(listener: () => void): () => void;
  /** Deletes the cache, and caches nothing from now on. For a sign-out. Resolves once the cache is deleted. */
  forget(): Promise<void>;
}

const NO_PERMISSIONS: readonly string[] = [];

export function createDashboardStore({
  client,
  channel,
  storage = browserStateStorage(),
  cacheKey = "skylapse",
  saveIntervalMs = 1000,
  notifyIntervalMs = 16,
  page = browserSignals(),
  onProblem: report = reportOnConsole,
}: DashboardStoreOptions): DashboardStore {
  const cache = new OfflineCache({ storage: storage ?? undefined, key: `${cacheKey}:${channel}`, report });
  const listeners = new Listeners<void>(report);
  let state = EMPTY_STATE;
  let asOf: number | undefined;
  let loaded = false;
  let cursor: Since | undefined;
  let subscription: ChannelSubscription | undefined;
  let notifyTimer: ReturnType<typeof setTimeout> | undefined;
  let saveTimer: ReturnType<typeof setTimeout> | undefined;
  let stopWatching: Array<() => void> = [];
  let isForgotten = false;
  let isFirstSnapshot = false;
  let granted: readonly string[] = NO_PERMISSIONS;
  let grants = channelGrantsOf(NO_PERMISSIONS);
  let view = currentView();
  /** Undefined once the cache has been read, or if there is none. */
  let restoring = storage === null ? undefined : restore();

  async function restore(): Promise<void> {
    const restored = await cache.load();
    restoring = undefined;
    if (restored !== undefined && !isForgotten) {
      ({ state, cursor, asOf } = restored);
      loaded = cursor !== undefined;
      notify();
    }
    if (listeners.size > 0) start();
  }

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

  /** During the first snapshot, all state that has arrived is current. Later, earlier state may be outdated. */
  function isLive(): boolean {
    const status = subscription?.state.status;
    return client.state.status === "connected" && (status === "live" || (status === "snapshot" && isFirstSnapshot));
  }

  function updateCursor(): void {
    if (subscription === undefined) return;
    cursor = subscription.cursor;
    if (isLive()) asOf = client.heardAt;
  }

  function save(leaving = false): void {
    clearTimeout(saveTimer);
    saveTimer = undefined;
    updateCursor();
    // Before the state has arrived, the old cache is better than an empty one.
    if (loaded && asOf !== undefined && !isForgotten) void cache.save({ state, cursor, asOf }, leaving);
  }

  function currentView(): RealTimeData {
    updateCursor();
    const { retained: _retained, latest: _latest, round: _round, inSnapshot: _inSnapshot, ...shown } = state;
    const permissions = client.state.status === "connected" ? client.state.session.permissions : NO_PERMISSIONS;
    if (permissions !== granted) {
      granted = permissions;
      grants = channelGrantsOf(permissions);
    }
    return {
      ...shown,
      connection: connectionView(client),
      subscription: subscription?.state ?? { status: "waiting" },
      live: isLive(),
      asOf,
      loaded,
      canCommand: grants.canCommand,
      grants,
      command: (...args) => client.command(...args),
      reconnect: () => client.connect(),
    };
  }

  function start(): void {
    stopWatching = [
      client.onState((connection) => {
        // The state was current until the connection was lost.
        if (connection.status !== "connected" && view.live) asOf = client.heardAt;
        notify();
      }),
      client.onLatency(changed),
      watchPage(page, { onHide: () => save(true) }),
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
    save(true);
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
      if (listeners.size === 1 && restoring === undefined) start();
      return () => {
        const sizeBefore = listeners.size;
        remove();
        if (listeners.size === 0 && sizeBefore > 0 && restoring === undefined) stop();
      };
    },
    forget: () => {
      isForgotten = true;
      return cache.clear();
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

/** Null if the storage cannot be used. */
export function browserStorage(): TextStorage | null {
  try {
    return typeof localStorage === "undefined" ? null : localStorage;
  } catch {
    // Browsers throw if their settings forbid the storage.
    return null;
  }
}
