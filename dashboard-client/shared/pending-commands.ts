import type { CommandOptions, CommandResult } from "../client/commands.ts";
import { ClientLimitError, NotConnectedError, OutcomeUnknownError, RequestRefusedError } from "../client/errors.ts";
import { callListener, type ProblemReporter } from "../client/problems.ts";
import type { FromLeader, SentError } from "./messages.ts";

interface Pending {
  onProgress: CommandOptions["onProgress"];
  resolve: (result: CommandResult) => void;
  reject: (error: Error) => void;
}

type Answer = Extract<FromLeader, { type: "command_progress" | "command_result" | "command_failed" }>;

/** The commands of one tab that the leader sends. The leader's client limits their number and their time. */
export class PendingCommands {
  readonly #report: ProblemReporter;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;

  constructor(report: ProblemReporter) {
    this.#report = report;
  }

  /** @param send sends the command with this id to the leader */
  add(onProgress: CommandOptions["onProgress"], send: (id: number) => void): Promise<CommandResult> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { onProgress, resolve, reject });
      send(id);
    });
  }

  answered(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return;
    if (answer.type === "command_progress") {
      callListener(this.#report, pending.onProgress, answer.progress);
      return;
    }
    this.#pending.delete(answer.id);
    if (answer.type === "command_result") pending.resolve(answer.result);
    else pending.reject(errorOf(answer.error));
  }

  /** The leader has changed. */
  lost(): void {
    const problem =
      "The tab with the connection was closed before the outcome arrived: the camera may still carry out the command";
    for (const { reject } of this.#pending.values()) reject(new OutcomeUnknownError(problem));
    this.#pending.clear();
  }
}

function errorOf({ name, message, code }: SentError): Error {
  switch (name) {
    case "NotConnectedError":
      return new NotConnectedError();
    case "ClientLimitError":
      return new ClientLimitError(message);
    case "OutcomeUnknownError":
      return new OutcomeUnknownError(message);
    case "RequestRefusedError":
      return new RequestRefusedError(message, code ?? 0);
    default:
      return new Error(message);
  }
}
