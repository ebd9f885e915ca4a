import type { Logger } from "pino";
import { type CustomChannels, channelExists } from "../../contract/channels.ts";
import { CloseCode, ReplyCode } from "../../contract/codes.ts";
import { FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { memberText } from "../../contract/json-text.ts";
import type { Grants } from "../../contract/permissions.ts";
import type { ClientMessage } from "../../contract/socket-messages.ts";
import type { TokenIdentity } from "../../platform/identity.ts";
import { TokenBucket } from "../../platform/token-bucket.ts";
import type { Audit } from "../auth/audit.ts";
import type { AuditAction } from "../auth/audit-entry.ts";
import { ExpiredTokenError, InvalidTokenError, type Tokens } from "../auth/tokens.ts";
import type { CommandRunner } from "../commands/command-relay.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { Subscriber } from "../delivery/subscriber.ts";
import { count } from "./admission.ts";
import type { Connection } from "./connection.ts";
import { type MessageBytes, type RequestId, readRequest } from "./requests.ts";

/** Commands of one connection whose end has not come. */
const MAX_PENDING_COMMANDS = 32;

/** The store behind the journal, as far as clients are to know of it. */
export interface StoreState {
  /** Beside this program: while it is in trouble, nothing can be read from it either. */
  shared: boolean;
  /** Why it takes no writes now; undefined when it does. */
  unavailableReason: () => string | undefined;
}

export interface SessionContext {
  delivery: Delivery;
  tokens: Pick<Tokens, "prepare" | "verify">;
  grantsOf: (permissions: readonly string[]) => Grants;
  channels: CustomChannels;
  commands: CommandRunner;
  audit: Pick<Audit, "refuse">;
  store: StoreState;
  logger: Logger;
  /** Subscriptions in all sessions together, by channel. */
  counts: Map<string, number>;
  pingIntervalMs: number;
  tokenWarningMs: number;
  tokenGraceMs: number;
  maxSubscriptions: number;
  maxMessagesPerSecond: number;
  messageBurst: number;
}

type MessageOf<Type extends ClientMessage["type"]> = Extract<ClientMessage, { type: Type }>;

interface Refusal {
  code: ReplyCode;
  error: string;
}

const STORE_AWAY: Refusal = {
  code: ReplyCode.storeUnavailable,
  error: "The event store is away: try again in a moment",
};
const EXPIRED: Refusal = { code: ReplyCode.tokenExpired, error: "The token has expired: renew it first" };

/**
 * Requests of one client in one turn of the event loop, so that others get theirs: those of five clients that subscribed
 * and unsubscribed, a hundred each, held it for 93 ms (`npm run test:abuse`).
 */
const MAX_REQUESTS_PER_TURN = 16;

/** An authenticated connection: what its user asks, and what it is answered. */
export class Session {
  readonly connection: Connection;
  readonly subscriber: Subscriber;
  readonly #context: SessionContext;
  readonly #rate: TokenBucket;
  /** Messages refused since the last one that the rate allowed. */
  #refusedInARow = 0;
  #identity: TokenIdentity;
  #grants: Grants;
  #warned = false;
  #pendingCommands = 0;
  /** Requests that were handled in this turn of the event loop, and those that wait for the next. */
  #handled = 0;
  readonly #waiting: (() => void)[] = [];
  #turn: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(connection: Connection, identity: TokenIdentity, context: SessionContext) {
    this.connection = connection;
    this.#identity = identity;
    this.#context = context;
    this.#grants = context.grantsOf(identity.permissions);
    const of = { user: identity.userId, onlyCameras: this.#grants.onlyCameras };
    this.subscriber = context.delivery.open(connection, of);
    this.#rate = new TokenBucket(context.maxMessagesPerSecond, context.messageBurst, connection.openedAt);
  }

  get identity(): TokenIdentity {
    return this.#identity;
  }

  welcome(id: RequestId): void {
    const { pingIntervalMs } = this.#context;
    this.connection.send({
      type: "auth_success",
      connection_id: this.connection.id,
      user_id: this.#identity.userId,
      permissions: [...this.#grants.permissions],
      expires_in: secondsUntil(this.#identity.expiresAt),
      ping_interval: pingIntervalMs / 1000,
      id,
    });
  }

  receive(bytes: MessageBytes, isBinary: boolean): void {
    const allowed = this.#rate.take(performance.now());
    this.#refusedInARow = allowed ? 0 : this.#refusedInARow + 1;
    if (this.#refusedInARow > this.#context.messageBurst) {
      this.connection.close(CloseCode.protocolError, "far too many messages");
      return;
    }
    this.#inTurn(() => this.#handle(bytes, isBinary, allowed));
  }

  #handle(bytes: MessageBytes, isBinary: boolean, allowed: boolean): void {
    const request = readRequest(bytes, isBinary);
    if (!allowed) {
      const id = request.ok ? request.message.id : request.id;
      this.#refuse(id, ReplyCode.rateLimited, `more than ${this.#context.maxMessagesPerSecond} messages a second`);
    } else if (request.ok) this.#answer(request.message, request.text);
    else this.#misunderstood(request);
  }

  /**
   * Warns of the token's end, and closes when it was not renewed in time.
   * @param now the system's clock, milliseconds since 1970
   */
  watchToken(now: number): void {
    const { tokenWarningMs, tokenGraceMs } = this.#context;
    const leftMs = this.#identity.expiresAt - now;
    if (!this.#warned && leftMs <= tokenWarningMs) {
      this.#warned = true;
      this.connection.send({ type: "token_expiring", expires_in: Math.max(0, Math.ceil(leftMs / 1000)) });
    }
    if (leftMs <= -tokenGraceMs) this.connection.close(CloseCode.tokenExpired, "the token expired");
  }

  close(): void {
    this.#closed = true;
    for (const channel of this.subscriber.channels.keys()) count(this.#context.counts, channel, -1);
    this.#context.delivery.close(this.subscriber);
  }

  /**
   * Does it now, or in a later turn of the event loop when this client has had its share of this one. While anything waits,
   * no more is read: no more of it can come than had arrived.
   */
  #inTurn(task: () => void): void {
    this.#turn ??= setImmediate(this.#nextTurn);
    if (this.#waiting.length === 0 && this.#handled < MAX_REQUESTS_PER_TURN) {
      this.#handled++;
      task();
      return;
    }
    this.#waiting.push(task);
    this.connection.ws.pause();
  }

  readonly #nextTurn = (): void => {
    this.#turn = undefined;
    const due = this.#waiting.splice(0, MAX_REQUESTS_PER_TURN);
    this.#handled = due.length;
    for (const task of due) if (!this.#closed) task();
    if (due.length === 0) return;
    this.#turn = setImmediate(this.#nextTurn);
    if (this.#waiting.length === 0) this.connection.ws.resume();
  };

  #answer(message: ClientMessage, text: string): void {
    switch (message.type) {
      case "auth":
        this.#renew(message);
        break;
      case "subscribe":
        this.#subscribe(message);
        break;
      case "unsubscribe":
        this.#unsubscribe(message);
        break;
      case "command":
        this.#command(message, text);
        break;
      case "ping":
        this.connection.send({ type: "pong", id: message.id });
        break;
      case "pong":
        // To have been heard is all there is to it.
        break;
    }
  }

  #subscribe({ channel, since, id }: MessageOf<"subscribe">): void {
    const refusal = this.#subscriptionRefusal(channel, since);
    if (refusal !== undefined) {
      this.connection.send({ type: "subscription_result", channel, success: false, ...refusal, id });
      return;
    }
    this.subscriber.subscribe(channel, since, id);
    count(this.#context.counts, channel, 1);
  }

  #subscriptionRefusal(channel: string, since: MessageOf<"subscribe">["since"]): Refusal | undefined {
    const { channels, maxSubscriptions } = this.#context;
    if (!channelExists(channel, channels))
      return { code: ReplyCode.unknownChannel, error: `There is no channel "${channel}"` };
    if (!this.#grants.canReadChannel(channel)) {
      this.#noteRefusal("subscribe", `channel:${channel}`);
      return { code: ReplyCode.permissionDenied, error: `The token does not permit to read "${channel}"` };
    }
    if (this.#expired) return EXPIRED;
    const { store } = this.#context;
    if (since !== undefined && store.shared && store.unavailableReason() !== undefined) return STORE_AWAY;
    if (this.subscriber.channels.has(channel))
      return { code: ReplyCode.alreadySubscribed, error: `"${channel}" is subscribed already` };
    if (this.subscriber.channels.size >= maxSubscriptions)
      return {
        code: ReplyCode.limit,
        error: `More than ${maxSubscriptions} subscriptions: unsubscribe from one first`,
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
    this.subscriber.unsubscribe(channel);
    count(this.#context.counts, channel, -1);
    this.connection.send({ type: "unsubscription_result", channel, success: true, id });
  }

  #command({ camera, name, args, expires_in, id }: MessageOf<"command">, text: string): void {
    const refuse = (refusal: Refusal) =>
      this.connection.send({ type: "command_result", id, camera, status: "rejected", ...refusal });
    const refusal = this.#commandRefusal(camera, name);
    if (refusal !== undefined) {
      refuse(refusal);
      return;
    }
    this.#pendingCommands++;
    try {
      const from = { who: `user:${this.#identity.userId}`, address: this.connection.address };
      const argsText = memberText(text, "args");
      this.#context.commands.run({ camera, name, args, argsText, expires_in, from }, (update) => {
        if (FINAL_COMMAND_STATUSES.has(update.status)) this.#pendingCommands--;
        if (!this.#closed) this.connection.send({ type: "command_result", id, ...update });
      });
    } catch (error) {
      this.#pendingCommands--;
      this.#context.logger.error({ err: error, connection: this.connection.id, camera }, "command failed");
      refuse({ code: ReplyCode.internal, error: "The server failed to take the command" });
    }
  }

  #commandRefusal(camera: string, name: string): Refusal | undefined {
    if (!this.#grants.canCommand(camera)) {
      this.#noteRefusal("command", `camera:${camera} ${name}`);
      return { code: ReplyCode.permissionDenied, error: `The token does not permit to command "${camera}"` };
    }
    if (this.#expired) return EXPIRED;
    // The camera's answer could not be taken.
    if (this.#context.store.unavailableReason() !== undefined) return STORE_AWAY;
    if (this.#pendingCommands >= MAX_PENDING_COMMANDS)
      return { code: ReplyCode.limit, error: `${MAX_PENDING_COMMANDS} commands are under way: wait for one to end` };
    return undefined;
  }

  /** A new token on the live socket: same user, perhaps other permissions. */
  #renew(message: MessageOf<"auth">): void {
    const waiting = this.#context.tokens.prepare(message.token);
    if (waiting === undefined) this.#renewNow(message);
    else
      waiting
        .then(() => {
          if (!this.#closed) this.#renewNow(message);
        })
        .catch((error: unknown) => {
          this.#context.logger.warn({ err: error, connection: this.connection.id }, "token not verified");
          if (!this.#closed)
            this.#refuse(message.id, ReplyCode.internal, "The token cannot be verified now: try again");
        });
  }

  #renewNow({ token, id }: MessageOf<"auth">): void {
    const identity = this.#verify(token, id);
    if (identity === undefined) return;
    if (identity.userId !== this.#identity.userId) {
      this.#noteRefusal("connect", `as user:${identity.userId}`);
      this.#refuse(id, ReplyCode.permissionDenied, "The token is of another user: open a connection for it");
      return;
    }
    this.#warned = false;
    this.regrant(identity, id);
  }

  /** The user may do other things than before: he is told what, and which channels he has lost. */
  regrant(identity: TokenIdentity, id?: RequestId): void {
    this.#identity = identity;
    this.#grants = this.#context.grantsOf(identity.permissions);
    this.welcome(id);
    for (const channel of [...this.subscriber.channels.keys()]) {
      if (this.#grants.canReadChannel(channel)) continue;
      this.subscriber.unsubscribe(channel);
      count(this.#context.counts, channel, -1);
      this.connection.send({
        ...{ type: "unsubscription_result", channel, success: true },
        ...{ error: "The token does not permit to read the channel any more", code: ReplyCode.permissionDenied },
      });
    }
    this.subscriber.narrow(this.#grants.onlyCameras);
  }

  #verify(token: string, id: RequestId): TokenIdentity | undefined {
    try {
      return this.#context.tokens.verify(token);
    } catch (error) {
      if (error instanceof ExpiredTokenError) this.#refuse(id, ReplyCode.tokenExpired, "The token has expired");
      else if (error instanceof InvalidTokenError) {
        this.#noteRefusal("connect", "with another token");
        this.#refuse(id, ReplyCode.badRequest, "The token is not valid");
      } else {
        this.#context.logger.error({ err: error, connection: this.connection.id }, "token not verified");
        this.#refuse(id, ReplyCode.internal, "The server failed to verify the token");
      }
      return undefined;
    }
  }

  #misunderstood({ type, channel, id, problem }: Extract<ReturnType<typeof readRequest>, { ok: false }>): void {
    const code = ReplyCode.badRequest;
    if (type === "subscribe" && channel !== undefined)
      this.connection.send({ type: "subscription_result", channel, success: false, error: problem, code, id });
    else if (type === "command")
      this.connection.send({ type: "command_result", status: "rejected", error: problem, code, id });
    else this.#refuse(id, code, problem);
  }

  #noteRefusal(action: AuditAction, target: string): void {
    const { address } = this.connection;
    const who = `user:${this.#identity.userId}`;
    this.#context.audit.refuse({ action, who, address, target, outcome: "permission_denied" });
  }

  #refuse(id: RequestId, code: ReplyCode, error: string): void {
    this.connection.send({ type: "error", error, code, id });
  }

  /** Between the token's end and the connection's, what is subscribed goes on and nothing new is begun. */
  get #expired(): boolean {
    return Date.now() >= this.#identity.expiresAt;
  }
}

function secondsUntil(moment: number): number {
  return Math.max(0, Math.round((moment - Date.now()) / 1000));
}
