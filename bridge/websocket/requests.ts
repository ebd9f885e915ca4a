import type { Logger } from "pino";
import { CloseCode, ReplyCode } from "../../contract/codes.ts";
import type { ClientMessage } from "../../contract/socket-messages.ts";
import { counted } from "../../platform/counted.ts";
import { TokenBucket } from "../../platform/token-bucket.ts";
import type { Connection } from "./connection.ts";
import { type MessageBytes, type Request, readRequest } from "./messages.ts";

/**
 * The most requests of one client in one turn of the event loop. Without this limit, five clients that each subscribed
 * and unsubscribed a hundred times blocked the event loop for 93 ms (`npm run test:abuse`).
 */
const MAX_REQUESTS_PER_TURN = 16;

export interface RequestLoopOptions {
  maxMessagesPerSecond: number;
  /** The most messages at once. When this many messages are refused in a row, the connection is closed. */
  messageBurst: number;
  logger: Logger;
}

export interface RequestHandler {
  /** @param text the JSON text of the message @returns when the next request may be handled. Undefined: now */
  handle(message: ClientMessage, text: string): Promise<void> | undefined;
}

/** Reads the requests of one connection: within the rate limit, in order, and a few per turn of the event loop. */
export class RequestLoop {
  readonly #connection: Connection;
  readonly #options: RequestLoopOptions;
  readonly #handler: RequestHandler;
  readonly #rate: TokenBucket;
  /** Messages refused since the last allowed one. */
  #refusedInARow = 0;
  /** Requests handled in this turn. */
  #handled = 0;
  readonly #waiting: (() => void)[] = [];
  #turn: NodeJS.Immediate | undefined;
  /** Whether later requests wait until a request is complete. */
  #isHeld = false;
  #stopped = false;

  constructor(connection: Connection, options: RequestLoopOptions, handler: RequestHandler) {
    this.#connection = connection;
    this.#options = options;
    this.#handler = handler;
    this.#rate = new TokenBucket(options.maxMessagesPerSecond, options.messageBurst, connection.openedAt);
  }

  receive(bytes: MessageBytes, isBinary: boolean): void {
    const isAllowed = this.#rate.take(performance.now());
    this.#refusedInARow = isAllowed ? 0 : this.#refusedInARow + 1;
    if (this.#refusedInARow > this.#options.messageBurst) {
      this.#connection.close(CloseCode.protocolError, "too many messages");
      return;
    }
    this.#inTurn(() => this.#handle(bytes, isBinary, isAllowed));
  }

  stop(): void {
    this.#stopped = true;
  }

  #handle(bytes: MessageBytes, isBinary: boolean, isAllowed: boolean): void {
    const request = readRequest(bytes, isBinary);
    if (!isAllowed) {
      const id = request.ok ? request.message.id : request.id;
      const error = `More than ${counted(this.#options.maxMessagesPerSecond, "message")} a second: send fewer`;
      this.#connection.send({ type: "error", error, code: ReplyCode.rateLimited, id });
    } else if (!request.ok) this.#refuse(request);
    else
      try {
        const held = this.#handler.handle(request.message, request.text);
        if (held !== undefined) void this.#hold(held);
      } catch (error) {
        this.#fail(error);
      }
  }

  async #hold(until: Promise<void>): Promise<void> {
    this.#isHeld = true;
    await until.catch((error: unknown) => this.#fail(error));
    this.#isHeld = false;
    this.#turn ??= setImmediate(this.#nextTurn);
  }

  #fail(error: unknown): void {
    this.#options.logger.error({ err: error, ...this.#connection.names }, "request failed");
    this.#connection.close(CloseCode.internal, "the server failed");
  }

  #refuse({ type, channel, id, problem: error }: Extract<Request, { ok: false }>): void {
    const code = ReplyCode.badRequest;
    if (type === "subscribe" && channel !== undefined)
      this.#connection.send({ type: "subscription_result", channel, success: false, error, code, id });
    else if (type === "command") this.#connection.send({ type: "command_result", status: "rejected", error, code, id });
    else this.#connection.send({ type: "error", error, code, id });
  }

  /**
   * Runs the task now, or in a later turn of the event loop if this client has used its share of the current turn.
   * While tasks wait, the socket is not read. So only tasks of the last read can wait.
   */
  #inTurn(task: () => void): void {
    this.#turn ??= setImmediate(this.#nextTurn);
    if (this.#waiting.length === 0 && this.#handled < MAX_REQUESTS_PER_TURN && !this.#isHeld) {
      this.#handled++;
      task();
      return;
    }
    this.#waiting.push(task);
    this.#connection.ws.pause();
  }

  readonly #nextTurn = (): void => {
    this.#turn = undefined;
    this.#handled = 0;
    while (this.#waiting.length > 0 && this.#handled < MAX_REQUESTS_PER_TURN && !this.#isHeld && !this.#stopped) {
      this.#handled++;
      this.#waiting.shift()?.();
    }
    if (this.#handled === 0) return;
    this.#turn = setImmediate(this.#nextTurn);
    if (this.#waiting.length === 0) this.#connection.ws.resume();
  };
}
