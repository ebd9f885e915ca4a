import type { Logger } from "pino";
import type { z } from "zod";
import { type Command, type CommandName, type CommandReply, commandSchema } from "../../contract/commands.ts";
import { messageOf } from "../../platform/errors.ts";
import type { CommandProgress, RememberedCommand } from "../host/camera-store.ts";
import { delay } from "../host/delay.ts";

export const MAX_REMEMBERED_COMMANDS = 256;
export const MAX_WAITING_COMMANDS = 16;

/** How long a command waits for its progress to be stored: a hanging disk must not block commands. */
const NOTE_TIMEOUT_MS = 5000;
const MAX_ERROR_CHARACTERS = 2000;

export type NoteProgress = (facts: { capture: string }) => Promise<void>;

export type IssuedCommand = Pick<Command, "id" | "issued_at" | "issued_by">;

/** Checks the arguments. Returns a function that executes the command, or the reason for its rejection. */
export type Action = (
  args: unknown,
  command: IssuedCommand,
) => { run: (note: NoteProgress) => Promise<unknown> } | { problem: string };

export function action<Schema extends z.ZodType>(
  schema: Schema,
  run: (args: z.output<Schema>, note: NoteProgress, command: IssuedCommand) => Promise<unknown>,
  problemOf: (args: z.output<Schema>, command: IssuedCommand) => string | undefined = () => undefined,
): Action {
  return (args, command) => {
    const checked = schema.safeParse(args);
    const problem = checked.success ? problemOf(checked.data, command) : undefined;
    if (problem !== undefined) return { problem };
    if (checked.success) return { run: (note) => run(checked.data, note, command) };
    const problems = checked.error.issues.map((issue) =>
      [issue.path.join("."), issue.message].filter(Boolean).join(": "),
    );
    return { problem: problems.join("; ") };
  };
}

export type Outcome = Pick<CommandReply, "result" | "error"> & { status: "succeeded" | "failed" };

/** Finds the outcome of an interrupted command; undefined when it cannot be known. */
export type OutcomeLookup = (progress: CommandProgress | undefined) => Promise<Outcome | undefined>;

export interface CommandRunnerOptions {
  actions: Record<CommandName, Action>;
  reply: (name: string, reply: CommandReply) => void;
  /** Commands of the earlier run, oldest first. Default: none. */
  remembered?: readonly RememberedCommand[];
  onRemembered?: (commands: readonly RememberedCommand[]) => void;
  /** Resolves when the remembered commands are on the disk. Default: resolves at once. */
  flush?: () => Promise<void>;
  now: () => Date;
  logger: Logger;
}

/**
 * Executes commands one at a time. The replies are `accepted`, then `succeeded`, `failed`, or `unknown` after a crash;
 * or `rejected`. A repeated command is not executed again, but gets its newest reply again.
 */
export class CommandRunner {
  readonly #options: CommandRunnerOptions;
  readonly #remembered: Map<string, RememberedCommand>;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(options: CommandRunnerOptions) {
    this.#options = options;
    this.#remembered = new Map(options.remembered?.map((command) => [command.reply.command_id, command]));
  }

  async replyToInterrupted(lookups: Partial<Record<CommandName, OutcomeLookup>>): Promise<void> {
    const interrupted = [...this.#remembered.values()].filter(({ reply }) => reply.status === "accepted");
    for (const { name, reply, progress } of interrupted)
      this.#reply(name, { command_id: reply.command_id, ...(await this.#outcomeOf(name, progress, lookups)) });
  }

  async #outcomeOf(
    name: string,
    progress: CommandProgress | undefined,
    lookups: Partial<Record<CommandName, OutcomeLookup>>,
  ): Promise<Omit<CommandReply, "command_id">> {
    if (progress?.begun === false)
      return { status: "failed", error: "the camera restarted before the command was begun" };
    try {
      const [, lookup] = Object.entries(lookups).find(([known]) => known === name) ?? [];
      const outcome = await lookup?.(progress);
      if (outcome !== undefined) return outcome;
    } catch (error) {
      const reason = messageOf(error);
      this.#options.logger.warn({ command: name, reason }, "outcome of a command cannot be looked up");
    }
    const error = "the camera restarted while the command was running: whether it was finished is unknown";
    return { status: "unknown", error };
  }

  /** @param topicCommand the command's name in the topic, which must equal the payload's */
  receive(topicCommand: string, payload: Uint8Array): void {
    const { logger } = this.#options;
    const command = decodeCommand(payload);
    if (command === undefined) {
      logger.warn({ command: topicCommand, bytes: payload.length }, "unreadable command ignored");
      return;
    }
    const known = this.#remembered.get(command.id);
    if (known !== undefined) {
      this.#options.reply(known.name, known.reply);
      return;
    }
    const checked = this.#check(topicCommand, command);
    if ("problem" in checked) {
      logger.info({ command: command.name, id: command.id, problem: checked.problem }, "command rejected");
      const error = checked.problem.slice(0, MAX_ERROR_CHARACTERS);
      this.#reply(topicCommand, { command_id: command.id, status: "rejected", error });
      return;
    }
    logger.info({ command: command.name, id: command.id, issuedBy: command.issued_by }, "command accepted");
    const progress = { args: command.args, begun: false };
    this.#reply(command.name, { command_id: command.id, status: "accepted" }, progress);
    this.#waiting++;
    this.#last = this.#last.then(() => this.#run(command, checked.run));
  }

  idle(): Promise<void> {
    return this.#last;
  }

  #check(topicCommand: string, command: Command): ReturnType<Action> {
    const { actions, now } = this.#options;
    if (command.name !== topicCommand)
      return { problem: `the topic is for ${topicCommand}, but the command is ${command.name}` };
    // The reply contains the camera's time: without it, an operator would hardly notice that the camera's clock is
    // ahead.
    if (Date.parse(command.expires_at) <= now().getTime())
      return { problem: `expired at ${command.expires_at}: this camera's clock shows ${now().toISOString()}` };
    const known = Object.entries(actions).find(([name]) => name === command.name);
    const names = Object.keys(actions).join(", ");
    if (known === undefined)
      return { problem: `${command.name} is not a command of this camera: its commands are ${names}` };
    if (this.#waiting > MAX_WAITING_COMMANDS) return { problem: `busy: ${this.#waiting} commands are waiting already` };
    return known[1](command.args, command);
  }

  async #run({ id, name }: Command, run: (note: NoteProgress) => Promise<unknown>): Promise<void> {
    try {
      await this.#note(id, { begun: true });
      const result = await run((facts) => this.#note(id, facts));
      this.#reply(name, { command_id: id, status: "succeeded", ...(result === undefined ? {} : { result }) });
    } catch (error) {
      const reason = messageOf(error);
      this.#options.logger.warn({ command: name, id, reason }, "command failed");
      this.#reply(name, { command_id: id, status: "failed", error: reason.slice(0, MAX_ERROR_CHARACTERS) });
    } finally {
      this.#waiting--;
    }
  }

  async #note(id: string, facts: Partial<CommandProgress>): Promise<void> {
    const { onRemembered, flush, logger } = this.#options;
    const command = this.#remembered.get(id);
    if (command?.progress === undefined) return;
    this.#remembered.set(id, { ...command, progress: { ...command.progress, ...facts } });
    onRemembered?.([...this.#remembered.values()]);
    const finished = new AbortController();
    try {
      await Promise.race([flush?.(), delay(NOTE_TIMEOUT_MS, finished.signal)]);
    } catch (error) {
      // The command is executed anyway: only after a crash would its outcome be unknown.
      logger.warn({ command: command.name, id, reason: messageOf(error) }, "progress of a command cannot be stored");
    } finally {
      finished.abort();
    }
  }

  /** Remembers the reply before sending it: if the reply is lost, the command is sent again and gets the same reply. */
  #reply(name: string, reply: CommandReply, progress?: CommandProgress): void {
    this.#remembered.set(reply.command_id, { name, reply, ...(progress === undefined ? {} : { progress }) });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED_COMMANDS) break;
      this.#remembered.delete(oldest);
    }
    this.#options.onRemembered?.([...this.#remembered.values()]);
    this.#options.reply(name, reply);
  }
}

function decodeCommand(payload: Uint8Array): Command | undefined {
  try {
    return commandSchema.safeParse(JSON.parse(Buffer.from(payload).toString())).data;
  } catch {
    return undefined;
  }
}
