import type { Logger } from "pino";
import { type CustomChannels, channelExists } from "../../contract/channels.ts";
import { CloseCode, ReplyCode } from "../../contract/codes.ts";
import type { Grants } from "../../contract/permissions.ts";
import type { ClientMessage } from "../../contract/socket-messages.ts";
import { counted } from "../../platform/counted.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Audit } from "../auth/audit.ts";
import type { AuditAction } from "../auth/audit-entry.ts";
import type { Tokens } from "../auth/tokens.ts";
import type { CommandRunner } from "../commands/command-relay.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { Subscriber } from "../delivery/subscriber.ts";
import { type CommandMessage, CommandRequests } from "./command-requests.ts";
import type { SocketsConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import { count } from "./counts.ts";
import type { MessageBytes, RequestId } from "./messages.ts";
import { type Refusal, STORE_UNAVAILABLE, TOKEN_EXPIRED, TOKEN_NOT_VERIFIED } from "./refusals.ts";
import { type RequestHandler, RequestLoop, type RequestLoopOptions } from "./requests.ts";
import { renewToken } from "./token-renewal.ts";

interface StoreState {
  /** Whether the store is outside this process. Such a store cannot be read either while it accepts no writes. */
  shared: boolean;
  /** Why the store accepts no writes now; undefined when it does. */
  unavailableReason: () => string | undefined;
}

type Limits = "pingIntervalMs" | "tokenWarningMs" | "tokenGraceMs" | "maxSubscriptions";
export interface SessionContext extends RequestLoopOptions, Pick<Required<SocketsConfig>, Limits> {
  delivery: Pick<Delivery, "open" | "close" | "reach">;
  tokens: Pick<Tokens, "now" | "prepare" | "verify">;
  grantsOf: (permissions: readonly string[]) => Grants;
  channels: CustomChannels;
  commands: CommandRunner;
  audit: Pick<Audit, "refuse">;
  store: StoreState;
  logger: Logger;
  /** Subscriptions of all sessions, by channel. */
  subscriptionCounts: Map<string, number>;
}

type MessageOf<Type extends ClientMessage["type"]> = Extract<ClientMessage, { type: Type }>;

/** An authenticated connection: its user, what the user may do, and the replies to its requests. */
export class Session implements RequestHandler {
  readonly connection: Connection;
  readonly subscriber: Subscriber;
  readonly #context: SessionContext;
  readonly #requests: RequestLoop;
  readonly #commands: CommandRequests;
  #identity: TokenIdentity;
  #grants: Grants;
  #hasWarnedOfExpiry = false;
  #closed = false;

  constructor(connection: Connection, identity: TokenIdentity, context: SessionContext) {
    this.connection = connection;
    this.#identity = identity;
    this.#context = context;
    this.#grants = context.grantsOf(identity.permissions);
    const { onlyCameras } = this.#grants;
    this.subscriber = context.delivery.open(connection, { user: identity.userId, onlyCameras });
    this.#requests = new RequestLoop(connection, context, this);
    this.#commands = new CommandRequests(connection, context);
  }

  get identity(): TokenIdentity {
    return this.#identity;
  }

  /** Sends the client its user and permissions. */
  welcome(id: RequestId): void {
    const { expiresAt } = this.#identity;
    this.connection.send({
      type: "auth_success",
      connection_id: this.connection.id,
      user_id: this.#identity.userId,
      permissions: [...this.#grants.permissions],
      ...(expiresAt === undefined
        ? {}
        : { expires_in: Math.max(0, Math.round((expiresAt - this.#context.tokens.now()) / 1000)) }),
      ping_interval: this.#context.pingIntervalMs / 1000,
      id,
    });
  }

  receive(bytes: MessageBytes, isBinary: boolean): void {
    this.#requests.receive(bytes, isBinary);
  }

  handle(message: ClientMessage, text: string): Promise<void> | undefined {
    if (message.type === "subscribe") return this.#subscribe(message);
    if (message.type === "auth") this.#renew(message);
    else if (message.type === "unsubscribe") this.#unsubscribe(message);
    else if (message.type === "command") this.#command(message, text);
    else if (message.type === "ping") this.connection.send({ type: "pong", id: message.id });
    // A `pong` needs no answer: the connection has already noted that the client was heard.
    return undefined;
  }

  /** Warns before the token expires, and closes the connection if the token is not renewed in the grace period. */
  checkExpiry(now: number): void {
    const { tokenWarningMs, tokenGraceMs } = this.#context;
    const leftMs = (this.#identity.expiresAt ?? Number.POSITIVE_INFINITY) - now;
    if (!this.#hasWarnedOfExpiry && leftMs <= tokenWarningMs) {
      this.#hasWarnedOfExpiry = true;
      this.connection.send({ type: "token_expiring", expires_in: Math.max(0, Math.ceil(leftMs / 1000)) });
    }
    if (leftMs <= -tokenGraceMs) this.connection.close(CloseCode.tokenExpired, "the token expired");
  }

  /** Applies the user's current permissions, and reports them and the lost channels to the client. */
  regrant(identity: TokenIdentity, id?: RequestId): void {
    this.#identity = identity;
    this.#grants = this.#context.grantsOf(identity.permissions);
    this.welcome(id);
    for (const channel of [...this.subscriber.channels.keys()]) {
      if (this.#grants.canReadChannel(channel)) continue;
      this.#leave(channel);
      this.connection.send({
        ...{ type: "unsubscription_result", channel, success: true },
        ...{ error: "The token no longer permits reading the channel", code: ReplyCode.permissionDenied },
      });
    }
    this.subscriber.narrow(this.#grants.onlyCameras);
  }

  close(): void {
    this.#closed = true;
    this.#requests.stop();
    this.#commands.stop();
    for (const channel of this.subscriber.channels.keys()) count(this.#context.subscriptionCounts, channel, -1);
    this.#context.delivery.close(this.subscriber);
  }

  #subscribe(message: MessageOf<"subscribe">): Promise<void> | undefined {
    const { channel, since } = message;
    const refusal = this.#subscriptionRefusal(channel, since);
    const reaching = since === undefined || refusal !== undefined ? undefined : this.#context.delivery.reach(since);
    if (reaching !== undefined) return this.#subscribeAfter(reaching, message);
    this.#answer(message, refusal);
    return undefined;
  }

  async #subscribeAfter(reaching: Promise<void>, message: MessageOf<"subscribe">): Promise<void> {
    let failure: Refusal | undefined;
    try {
      await reaching;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      failure = STORE_UNAVAILABLE;
    }
    if (!this.#closed) this.#answer(message, failure ?? this.#subscriptionRefusal(message.channel, message.since));
  }

  #answer({ channel, since, id }: MessageOf<"subscribe">, refusal: Refusal | undefined): void {
    if (refusal !== undefined) {
      this.connection.send({ type: "subscription_result", channel, success: false, ...refusal, id });
      return;
    }
    this.subscriber.subscribe(channel, since, id);
    count(this.#context.subscriptionCounts, channel, 1);
  }

  #subscriptionRefusal(channel: string, since: MessageOf<"subscribe">["since"]): Refusal | undefined {
    const { channels, maxSubscriptions, store } = this.#context;
    if (!channelExists(channel, channels))
      return { code: ReplyCode.unknownChannel, error: `There is no channel "${channel}"` };
    if (!this.#grants.canReadChannel(channel)) {
      this.#auditRefusal("subscribe", `channel:${channel}`);
      return { code: ReplyCode.permissionDenied, error: `The token does not permit reading "${channel}"` };
    }
    if (this.#isExpired) return TOKEN_EXPIRED;
    if (since !== undefined && store.shared && store.unavailableReason() !== undefined) return STORE_UNAVAILABLE;
    if (this.subscriber.channels.has(channel))
      return { code: ReplyCode.alreadySubscribed, error: `"${channel}" is already subscribed` };
    if (this.subscriber.channels.size >= maxSubscriptions)
      return {
        code: ReplyCode.limit,
        error: `More than ${counted(maxSubscriptions, "subscription")}: unsubscribe from one first`,
      };
    return undefined;
  }

  #unsubscribe({ channel, id }: MessageOf<"unsubscribe">): void {
    if (!this.subscriber.channels.has(channel)) {
      this.connection.send({
        ...{ type: "unsubscription_result", channel, success: false, id },
        ...{ error: `"${channel}" is not subscribed`, code: ReplyCode.badRequest },
      });
      return;
    }
    this.#leave(channel);
    this.connection.send({ type: "unsubscription_result", channel, success: true, id });
  }

  #leave(channel: string): void {
    this.subscriber.unsubscribe(channel);
    count(this.#context.subscriptionCounts, channel, -1);
  }

  #command(message: CommandMessage, text: string): void {
    const { id, camera, name } = message;
    const refusal = this.#commandRefusal(camera, name);
    if (refusal === undefined) this.#commands.run(message, this.#who, text);
    else this.#commands.reject(id, camera, refusal);
  }

  #commandRefusal(camera: string, name: string): Refusal | undefined {
    if (!this.#grants.canCommand(camera)) {
      this.#auditRefusal("command", `camera:${camera} ${name}`);
      return { code: ReplyCode.permissionDenied, error: `The token does not permit commands to "${camera}"` };
    }
    if (this.#isExpired) return TOKEN_EXPIRED;
    // While the store accepts no writes, the camera's reply could not be stored.
    if (this.#context.store.unavailableReason() !== undefined) return STORE_UNAVAILABLE;
    return this.#commands.refusal;
  }

  /** Replaces the token by another token of the same user, perhaps with other permissions. */
  #renew({ token, id }: MessageOf<"auth">): void {
    const prepared = this.#context.tokens.prepare(token);
    if (prepared === undefined) this.#renewNow(token, id);
    else
      prepared
        .then(() => {
          if (!this.#closed) this.#renewNow(token, id);
        })
        .catch((error: unknown) => {
          this.#context.logger.warn({ err: error, ...this.connection.names }, "token not verified");
          if (!this.#closed) this.#sendError(id, TOKEN_NOT_VERIFIED);
        });
  }

  #renewNow(token: string, id: RequestId): void {
    const renewal = renewToken(token, this.#identity.userId, this.connection.names, this.#context);
    if (renewal.ok) {
      this.#hasWarnedOfExpiry = false;
      this.regrant(renewal.identity, id);
    } else {
      if (renewal.audit !== undefined) this.#auditRefusal("connect", renewal.audit);
      this.#sendError(id, renewal.refusal);
    }
  }

  #sendError(id: RequestId, { code, error }: Refusal): void {
    this.connection.send({ type: "error", error, code, id });
  }

  #auditRefusal(action: AuditAction, target: string): void {
    const { address } = this.connection;
    this.#context.audit.refuse({ action, who: this.#who, address, target, outcome: "permission_denied" });
  }

  get #who(): string {
    return `user:${this.#identity.userId}`;
  }

  /** In the grace period after the expiry, subscriptions continue and new requests are refused. */
  get #isExpired(): boolean {
    return this.#context.tokens.now() >= (this.#identity.expiresAt ?? Number.POSITIVE_INFINITY);
  }
}
