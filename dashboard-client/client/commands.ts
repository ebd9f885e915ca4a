import {
  type CommandStatus,
  DEFAULT_COMMAND_EXPIRES_IN,
  FINAL_COMMAND_STATUSES,
} from "../../contract/command-status.ts";
import type { ClientMessageInput, ServerMessage } from "../../contract/socket-messages.ts";
import { ClientLimitError, NotConnectedError, OutcomeUnknownError, RequestRefusedError } from "./errors.ts";
import { callListener, type ProblemReporter } from "./problems.ts";

export interface CommandResult {
  status: CommandStatus;
  /** The id of the command in the journal and in the camera's log. */
  commandId: string | undefined;
  /** The camera's result, unchanged. */
  result: unknown;
  error: string | undefined;
  /** The `ReplyCode` of a failed command, such as `deviceOffline`. */
  code: number | undefined;
}

export interface CommandOptions {
  /** Seconds within which the camera must begin. A camera ignores an expired command. Default 30. */
  expiresIn?: number;
  /** Called for `sent`, `delivered`, `accepted`, and the outcome. */
  onProgress?: (progress: CommandResult) => void;
}

export interface CommandsSettings {
  /** Milliseconds after a command's `expiresIn` until the outcome is regarded as unknown. Default 60,000. */
  commandGraceMs?: number;
  /** The most commands without an outcome. Default 32. */
  maxPendingCommands?: number;
}

interface CommandsOptions extends CommandsSettings {
  send: (message: ClientMessageInput) => boolean;
  nextId: () => number;
  report: ProblemReporter;
}

interface Pending {
  onProgress: CommandOptions["onProgress"];
  resolve: (result: CommandResult) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
  allowedMs: number;
}

export class Commands {
  readonly #options: CommandsOptions;
  readonly #pending = new Map<number | string, Pending>();

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  send(
    camera: string,
    name: string,
    args: Record<string, unknown>,
    { expiresIn = DEFAULT_COMMAND_EXPIRES_IN, onProgress }: CommandOptions,
  ): Promise<CommandResult> {
    const { send, nextId, commandGraceMs = 60_000, maxPendingCommands = 32 } = this.#options;
    if (this.#pending.size >= maxPendingCommands) {
      const problem = `${maxPendingCommands} commands are pending (maxPendingCommands): wait for one to end`;
      return Promise.reject(new ClientLimitError(problem));
    }
    const id = nextId();
    if (!send({ type: "command", id, camera, name, args, expires_in: expiresIn }))
      return Promise.reject(new NotConnectedError());
    const allowedMs = expiresIn * 1000 + commandGraceMs;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { onProgress, resolve, reject, allowedMs, timer: this.#watch(id, allowedMs) });
    });
  }

  progressed(message: Extract<ServerMessage, { type: "command_result" }>): void {
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (message.id === undefined || pending === undefined) return;
    const { status, command_id: commandId, result, error, code } = message;
    const progress: CommandResult = { status, commandId, result, error, code };
    if (FINAL_COMMAND_STATUSES.has(status)) this.#take(message.id)?.resolve(progress);
    else {
      clearTimeout(pending.timer);
      pending.timer = this.#watch(message.id, pending.allowedMs);
    }
    callListener(this.#options.report, pending.onProgress, progress);
  }

  /** @returns true if the error answers a command */
  failed(id: number | string, code: number, error: string): boolean {
    const pending = this.#take(id);
    pending?.reject(new RequestRefusedError(error, code));
    return pending !== undefined;
  }

  disconnected(): void {
    const problem = "The connection was lost before the outcome arrived: the camera may still carry out the command";
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(new OutcomeUnknownError(problem));
  }

  #take(id: number | string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    clearTimeout(pending.timer);
    this.#pending.delete(id);
    return pending;
  }

  #watch(id: number | string, allowedMs: number): ReturnType<typeof setTimeout> {
    const problem = `No outcome within ${allowedMs / 1000} s: the camera may still carry out the command`;
    return setTimeout(() => this.#take(id)?.reject(new OutcomeUnknownError(problem)), allowedMs);
  }
}
