import type { Logger } from "pino";
import type { z } from "zod";
import { type Command, type CommandName, type CommandReply, commandSchema } from "../../contract/commands.ts";
import { pause } from "../host/pause.ts";

/** How many command ids are remembered with their results (DESIGN §10). */
export const MAX_REMEMBERED_COMMANDS = 256;
/** How many accepted commands may wait for the one that is running; more are rejected. */
export const MAX_WAITING_COMMANDS = 16;

/** A disk that hangs must not keep a command from being carried out for longer, milliseconds. */
const NOTE_TIMEOUT_MS = 5000;

/** Notes how far a command has come. Resolves once that is on the disk, or the disk does not take it. */
export type NoteProgress = (facts: { capture: string }) => Promise<void>;

/** What a camera does for one command, behind the check of its arguments. */
export type Action = (
  args: unknown,
  command: Pick<Command, "issued_at">,
) => { run: (note: NoteProgress) => Promise<unknown> } | { problem: string };

/**
 * Joins the contract's schema of a command's arguments to what is done with them.
 * @param problemOf what else is wrong with them. Default: nothing is
 */
export function action<Schema extends z.ZodType>(
  schema: Schema,
  run: (args: z.output<Schema>, note: NoteProgress, command: Pick<Command, "issued_at">) => Promise<unknown>,
  problemOf: (args: z.output<Schema>, command: Pick<Command, "issued_at">) => string | undefined = () => undefined,
): Action {
  return (args, command) => {
    const checked = schema.safeParse(args);
    const problem = checked.success ? problemOf(checked.data, command) : undefined;
    if (problem !== undefined) return { problem };
    if (checked.success) return { run: (note) => run(checked.data, note, command) };
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
  /** While it is accepted. Absent in what versions remembered that did not note it. */
  progress?: CommandProgress | undefined;
}

/** What an accepted command asks for and how far it has come: what came of it can be looked up by that after a crash. */
export interface CommandProgress {
  args: Record<string, unknown>;
  /** False while it waits for those before it. */
  begun: boolean;
  /** The picture that was begun for it. */
  capture?: string | undefined;
}

/** What came of a command. */
export type Outcome = Pick<CommandReply, "result" | "error"> & { status: "succeeded" | "failed" };

/** Looks up what came of a command that a restart interrupted. Resolves to undefined when nothing tells. */
export type LookUp = (progress: CommandProgress | undefined) => Promise<Outcome | undefined>;

export interface CommandDeskOptions {
  actions: Record<CommandName, Action>;
  answer: (name: string, reply: CommandReply) => void;
  /** What an earlier run remembered, oldest first. Default: nothing. */
  remembered?: readonly RememberedCommand[];
  /** Called when what is remembered has changed. */
  onRemembered?: (commands: readonly RememberedCommand[]) => void;
  /** Resolves when what is remembered is on the disk. Default: at once. */
  flush?: () => Promise<void>;
  now: () => Date;
  logger: Logger;
}

/**
 * Takes commands in, does each once and one at a time, and answers: `accepted`, then `succeeded` or `failed`, or
 * `unknown` after a crash; or `rejected`. A command that is seen again, however often, is answered with what came of it the first time.
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

  /** Answers for the commands that an earlier run accepted and did not live to finish. */
  async settleInterrupted(lookUps: Partial<Record<CommandName, LookUp>>): Promise<void> {
    const interrupted = [...this.#remembered.values()].filter(({ reply }) => reply.status === "accepted");
    for (const { name, reply, progress } of interrupted) {
      const { command_id } = reply;
      const outcome = await this.#outcomeOf(name, progress, lookUps);
      this.#answer(name, { command_id, ...outcome });
    }
  }

  async #outcomeOf(
    name: string,
    progress: CommandProgress | undefined,
    lookUps: Partial<Record<CommandName, LookUp>>,
  ): Promise<Omit<CommandReply, "command_id">> {
    if (progress?.begun === false) return { status: "failed", error: "the camera restarted before it was begun" };
    try {
      const [, lookUp] = Object.entries(lookUps).find(([known]) => known === name) ?? [];
      const outcome = await lookUp?.(progress);
      if (outcome !== undefined) return outcome;
    } catch (error) {
      this.#options.logger.warn({ command: name, reason: reasonOf(error) }, "cannot look up what came of a command");
    }
    return {
      status: "unknown",
      error: "the camera restarted while it was carried out: nothing tells whether it was done",
    };
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
    const progress = { args: command.args, begun: false };
    this.#answer(command.name, { command_id: command.id, status: "accepted" }, progress);
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
    return known[1](command.args, command);
  }

  async #run({ id, name }: Command, run: (note: NoteProgress) => Promise<unknown>): Promise<void> {
    try {
      await this.#note(id, { begun: true });
      const result = await run((facts) => this.#note(id, facts));
      this.#answer(name, { command_id: id, status: "succeeded", ...(result === undefined ? {} : { result }) });
    } catch (error) {
      const reason = reasonOf(error);
      this.#options.logger.warn({ command: name, id, reason }, "command failed");
      this.#answer(name, { command_id: id, status: "failed", error: reason.slice(0, 2000) });
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
    const over = new AbortController();
    try {
      await Promise.race([flush?.(), pause(NOTE_TIMEOUT_MS, over.signal)]);
    } catch (error) {
      // It is carried out all the same: only after a crash nothing tells what came of it.
      logger.warn({ command: command.name, id, reason: reasonOf(error) }, "cannot note that a command is carried out");
    } finally {
      over.abort();
    }
  }

  /** Remembers first: should the answer be lost, a repeat is what asks for it again. */
  #answer(name: string, reply: CommandReply, progress?: CommandProgress): void {
    this.#remembered.set(reply.command_id, { name, reply, ...(progress === undefined ? {} : { progress }) });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED_COMMANDS) break;
      this.#remembered.delete(oldest);
    }
    this.#options.onRemembered?.([...this.#remembered.values()]);
    this.#options.answer(name, reply);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function read(payload: Uint8Array): Command | undefined {
  try {
    return commandSchema.safeParse(JSON.parse(Buffer.from(payload).toString())).data;
  } catch {
    return undefined;
  }
}
