// The client library, which needs no framework. The React hook is in react/use-real-time-data.ts.

export { Backoff, type BackoffOptions } from "./client/backoff.ts";
export { type ChannelSubscription, type Client, type ClientOptions, createClient } from "./client/client.ts";
export type { CommandOptions, CommandResult } from "./client/commands.ts";
export { type ConnectionQuality, qualityOf } from "./client/connection-quality.ts";
export type { ConnectionState, LossCause, Session } from "./client/connection-state.ts";
export * from "./client/errors.ts";
export type { PageSignals } from "./client/page-signals.ts";
export type { Problem, ProblemReporter } from "./client/problems.ts";
export type { Socket, SocketConstructor } from "./client/socket.ts";
export type { ReportedGap, SubscriptionListener, SubscriptionState } from "./client/subscription.ts";
export type { AlertState, EndedAlert } from "./state/alert-state.ts";
export type { CameraState, Known } from "./state/camera-state.ts";
export type { ActivityItem, DashboardState, JobState, MetricPoint } from "./state/dashboard-state.ts";
export {
  type ConnectionView,
  createDashboardStore,
  type DashboardStore,
  type DashboardStoreOptions,
  type RealTimeData,
} from "./state/dashboard-store.ts";
export type { TextStorage } from "./state/offline-cache.ts";
