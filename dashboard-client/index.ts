// Free of any framework; the React hook is in react/use-real-time-data.ts.
export type { AlertState, EndedAlert } from "./alert-state.ts";
export { Backoff, type BackoffOptions } from "./backoff.ts";
export type { CameraState, Known } from "./camera-state.ts";
export { type ChannelSubscription, type Client, type ClientOptions, createClient } from "./client.ts";
export type { CommandOptions, CommandResult } from "./commands.ts";
export { type ConnectionQuality, qualityOf } from "./connection-quality.ts";
export type { ConnectionState, LossCause, Session } from "./connection-state.ts";
export type { DashboardState, FeedItem, JobState, MetricPoint } from "./dashboard-state.ts";
export {
  type ConnectionView,
  createDashboardStore,
  type DashboardStore,
  type DashboardStoreOptions,
  type RealTimeData,
} from "./dashboard-store.ts";
export {
  AlreadySubscribedError,
  ClientClosedError,
  ClientLimitError,
  NotConnectedError,
  NoWebSocketError,
  OutcomeUnknownError,
  RequestRefusedError,
  TokenRefusedError,
} from "./errors.ts";
export type { TextStorage } from "./offline-cache.ts";
export type { PageSignals } from "./page-signals.ts";
export type { Problem, ProblemReporter } from "./problems.ts";
export type { Socket, SocketConstructor } from "./socket.ts";
export type { ReportedGap, SubscriptionListener, SubscriptionState } from "./subscription.ts";
