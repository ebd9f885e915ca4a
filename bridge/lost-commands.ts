import type { Logger } from "pino";
import type { TopicTree } from "../contract/topics.ts";
import type { LostCommand, MqttCommands } from "./commands/mqtt-commands.ts";
import type { Journal } from "./journal/journal.ts";

interface LostCommandsOptions {
  journal: Pick<Journal, "epoch" | "finished" | "unfinished" | "onUnfinished">;
  tree: TopicTree;
  logger: Logger;
}

/** The id of a command whose sender gave none. Every node derives the same one. */
export function commandIdAt({ epoch }: Pick<Journal, "epoch">, position: number): string {
  return `${epoch}.${position}`;
}

/** Reports the commands that an earlier run of this server, or a dead node, has accepted and not finished. */
export class LostCommands {
  readonly #options: LostCommandsOptions;
  #commands: Pick<MqttCommands, "reportLost"> | undefined;
  /** Until {@link attach}. */
  readonly #waiting = new Map<number, LostCommand>();
  #isPending = false;
  #isReading = false;

  constructor(options: LostCommandsOptions) {
    this.#options = options;
  }

  attach(commands: Pick<MqttCommands, "reportLost">): void {
    this.#commands = commands;
    for (const [position, command] of this.#waiting) this.#report(commands, position, command);
    this.#waiting.clear();
  }

  /** Reports the lost commands of earlier runs, and from now on those of dead nodes. @throws {StoreUnavailableError} */
  async start(): Promise<void> {
    const { journal, logger } = this.#options;
    await this.#read();
    journal.onUnfinished(() => {
      this.#isPending = true;
      if (this.#isReading) return;
      this.#isReading = true;
      this.#readPending()
        .catch((err: unknown) => logger.warn({ err }, "commands of another node that are lost are not reported yet"))
        .finally(() => {
          this.#isReading = false;
        });
    });
  }

  async #readPending(): Promise<void> {
    while (this.#isPending) {
      this.#isPending = false;
      await this.#read();
    }
  }

  async #read(): Promise<void> {
    const { journal, tree } = this.#options;
    for await (const { position, topic: name, payload } of journal.unfinished()) {
      const topic = tree.parse(name);
      if (topic?.kind !== "camera-command") {
        // TOPIC_ROOT has changed: nobody waits for an answer below the former root.
        journal.finished(position);
        continue;
      }
      const id = commandIdAt(journal, position);
      const command = { id, payload: Buffer.from(payload), camera: topic.camera, name: topic.command };
      if (this.#commands === undefined) this.#waiting.set(position, command);
      else this.#report(this.#commands, position, command);
    }
  }

  #report(commands: Pick<MqttCommands, "reportLost">, position: number, command: LostCommand): void {
    commands.reportLost(command);
    this.#options.journal.finished(position);
  }
}
