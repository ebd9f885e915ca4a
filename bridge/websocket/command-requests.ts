import type { Logger } from "pino";
import { ReplyCode } from "../../contract/codes.ts";
import { FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { memberText } from "../../contract/json-text.ts";
import type { ClientMessage } from "../../contract/socket-messages.ts";
import type { CommandRunner } from "../commands/command-relay.ts";
import type { Connection } from "./connection.ts";
import type { Refusal } from "./refusals.ts";

/** The most commands of one connection without a final status. */
const MAX_PENDING_COMMANDS = 32;

export type CommandMessage = Extract<ClientMessage, { type: "command" }>;

export class CommandRequests {
  readonly #connection: Connection;
  readonly #context: { commands: CommandRunner; logger: Logger };
  #pending = 0;
  #stopped = false;

  constructor(connection: Connection, context: { commands: CommandRunner; logger: Logger }) {
    this.#connection = connection;
    this.#context = context;
  }

  /** Why no further command can run now; undefined when another one can. */
  get refusal(): Refusal | undefined {
    if (this.#pending < MAX_PENDING_COMMANDS) return undefined;
    return {
      code: ReplyCode.limit,
      error: `${MAX_PENDING_COMMANDS} commands are pending: wait until one of them ends`,
    };
  }

  /** @param who the sender's name in the audit log @param text the JSON text of the message */
  run({ camera, name, args, expires_in, id }: CommandMessage, who: string, text: string): void {
    this.#pending++;
    try {
      const from = { who, address: this.#connection.address };
      const argsText = memberText(text, "args");
      this.#context.commands.run({ camera, name, args, argsText, expires_in, from }, (update) => {
        if (FINAL_COMMAND_STATUSES.has(update.status)) this.#pending--;
        if (!this.#stopped) this.#connection.send({ type: "command_result", id, ...update });
      });
    } catch (error) {
      this.#pending--;
      this.#context.logger.error({ err: error, ...this.#connection.names, camera }, "command failed");
      this.reject(id, camera, { code: ReplyCode.internal, error: "The server failed to run the command" });
    }
  }

  reject(id: CommandMessage["id"], camera: string, refusal: Refusal): void {
    this.#connection.send({ type: "command_result", id, camera, status: "rejected", ...refusal });
  }

  /** Stops reporting, because the connection is closed. The commands themselves continue. */
  stop(): void {
    this.#stopped = true;
  }
}
