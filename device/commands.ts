import type { Logger } from "pino";
import type { z } from "zod";
import { type Command, type CommandName, type CommandReply, commandSchema } from "../contract/commands.ts";

/** How many command ids are remembered with their results (DESIGN §10). */
export const MAX_REMEMBERED_COMMANDS = 256;
/** How many accepted commands may wait for the one that is running; more are rejected. */
export const MAX_WAITING_COMMANDS = 16;

/** What a camera does for one command, behind the check of its arguments. */
export type Action = (args: unknown) => { run: () => Promise<unknown> } | { problem: string };

/** Joins the contract's schema of a command's arguments to what is done with them. */
export function action<Schema extends z.ZodType>(
  schema: Schema,
  run: (args: z.output<Schema>) => Promise<unknown>,
): Action {
  return (args) => {
    const checked = schema.safeParse(args);
    if (checked.success) return { run: () => run(checked.data) };
    const problems = checked.error.issues.map(({ path, message }) =>
      [path.join("."), message].filter(Boolean).join(": "),
    );
    return { problem: problems.join("; ") };
  };
}

/** A command that was seen, with the newest answer to it. */
export interface RememberedCommand {
  name: string;
  reply: CommandReply;
}

export interface CommandDeskOptions {
  actions: Record<CommandName, Action>;
  answer: (name: string, reply: CommandReply) => void;
  /** What an earlier run remembered, oldest first. Default: nothing. */
  remembered?: readonly RememberedCommand[];
  /** Called when what is remembered has changed. */
  onRemembered?: (commands: readonly RememberedCommand[]) => void;
  now: () => Date;
  logger: Logger;
}

/**
 * Takes commands in, does each once and one at a time, and answers: `accepted`, then `succeeded` or `failed`; or
 * `rejected`. A command that is seen again, however often, is answered with what came of it the first time.
 */
export class CommandDesk {
  readonly #options: CommandDeskOptions;
  /** By command id, oldest first. */
  readonly #remembered: Map<string, RememberedCommand>;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(options: CommandDeskOptions) {
    this.#options = options;
    this.#remembered = new Map(options.remembered?.map((command) => [command.reply.command_id, command]));
  }

  /**
   * Answers for the commands that an earlier run accepted and did not live to finish.
   * @param succeeded those that ended the earlier run, as was asked: `reboot`
   */
  settleInterrupted(succeeded: readonly CommandName[]): void {
    for (const { name, reply } of [...this.#remembered.values()]) {
      if (reply.status !== "accepted") continue;
      const { command_id } = reply;
      if (succeeded.some((done) => done === name)) this.#answer(name, { command_id, status: "succeeded" });
      else this.#answer(name, { command_id, status: "failed", error: "the camera restarted before it was done" });
    }
  }

  /** @param topicCommand the command by its topic, which must be the one in the payload */
  receive(topicCommand: string, payload: Uint8Array): void {
    const { logger } = this.#options;
    const command = read(payload);
    if (command === undefined) {
      // It has no id that an answer could name.
      logger.warn({ command: topicCommand, bytes: payload.length }, "unreadable command ignored");
      return;
    }
    const known = this.#remembered.get(command.id);
    if (known !== undefined) {
      this.#options.answer(known.name, known.reply);
      return;
    }
    const checked = this.#check(topicCommand, command);
    if ("problem" in checked) {
      logger.info({ command: command.name, id: command.id, problem: checked.problem }, "command rejected");
      this.#answer(topicCommand, { command_id: command.id, status: "rejected", error: checked.problem.slice(0, 2000) });
      return;
    }
    logger.info({ command: command.name, id: command.id, issuedBy: command.issued_by }, "command accepted");
    this.#answer(command.name, { command_id: command.id, status: "accepted" });
    this.#waiting++;
    this.#last = this.#last.then(() => this.#run(command, checked.run));
  }

  /** Resolves when everything accepted so far is done. */
  settled(): Promise<void> {
    return this.#last;
  }

  #check(topicCommand: string, command: Command): ReturnType<Action> {
    const { actions, now } = this.#options;
    if (command.name !== topicCommand)
      return { problem: `the topic says ${topicCommand}, the command ${command.name}` };
    // With the time: a clock that is ahead makes every command late, and nobody sees it from afar.
    if (Date.parse(command.expires_at) <= now().getTime())
      return { problem: `expired at ${command.expires_at}: by the clock of this camera it is ${now().toISOString()}` };
    const known = Object.entries(actions).find(([name]) => name === command.name);
    if (known === undefined)
      return {
        problem: `${command.name} is not a command of this camera: it knows ${Object.keys(actions).join(", ")}`,
      };
    if (this.#waiting > MAX_WAITING_COMMANDS) return { problem: `busy: ${this.#waiting} commands are waiting already` };
    return known[1](command.args);
  }

  async #run({ id, name }: Command, run: () => Promise<unknown>): Promise<void> {
    try {
      const result = await run();
      this.#answer(name, { command_id: id, status: "succeeded", ...(result === undefined ? {} : { result }) });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.logger.warn({ command: name, id, reason }, "command failed");
      this.#answer(name, { command_id: id, status: "failed", error: reason.slice(0, 2000) });
    } finally {
      this.#waiting--;
    }
  }

  /** Remembers first: should the answer be lost, a repeat is what asks for it again. */
  #answer(name: string, reply: CommandReply): void {
    this.#remembered.set(reply.command_id, { name, reply });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED_COMMANDS) break;
      this.#remembered.delete(oldest);
    }
    this.#options.onRemembered?.([...this.#remembered.values()]);
    this.#options.answer(name, reply);
  }
}

function read(payload: Uint8Array): Command | undefined {
  try {
    return commandSchema.safeParse(JSON.parse(Buffer.from(payload).toString())).data;
  } catch {
    return undefined;
  }
}
