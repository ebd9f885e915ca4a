// The client without state, storage or framework: `skylapse-realtime/client`. It imports no package.

export { CloseCode, ReplyCode } from "../../contract/codes.ts";
export type { CommandStatus } from "../../contract/command-status.ts";
export type { DashboardEvent, Since } from "../../contract/socket-messages.ts";
export { Backoff, type BackoffOptions } from "./backoff.ts";
export { type ChannelSubscription, type Client, type ClientOptions, createClient } from "./client.ts";
export type { CommandOptions, CommandResult } from "./commands.ts";
export { type ConnectionQuality, qualityOf } from "./connection-quality.ts";
export type { ConnectionState, LossCause, Session } from "./connection-state.ts";
export * from "./errors.ts";
export type { PageSignals } from "./page-signals.ts";
export type { Problem, ProblemReporter } from "./problems.ts";
export type { Socket, SocketConstructor } from "./socket.ts";
export type { ReportedGap, SubscriptionListener, SubscriptionState } from "./subscription.ts";
