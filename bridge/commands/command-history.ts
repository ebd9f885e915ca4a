import type { Logger } from "pino";
import { ReplyCode } from "../../contract/codes.ts";
import { FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { BackendEvent, Publish } from "../broker-link/publish.ts";
import type { CommandUpdate } from "./pending-commands.ts";

interface CommandHistoryOptions {
  publish: Publish;
  logger: Logger;
}

interface Issued {
  id: string;
  camera: string;
  name: string;
  args: Readonly<Record<string, unknown>>;
  by: string;
  expiresInS: number;
}

/**
 * Records commands in the journal, and so in the archive: ingest records only those that arrive by MQTT, and the camera's
 * replies. A command is never delayed or refused because it cannot be recorded.
 */
export class CommandHistory {
  readonly #options: CommandHistoryOptions;
  readonly #limitedLog = new LimitedLog();

  constructor(options: CommandHistoryOptions) {
    this.#options = options;
  }

  noteIssued({ id, camera, name, args, by, expiresInS }: Issued): void {
    const data = { id, name, args, issued_by: by, expires_in: expiresInS };
    this.#publish({ topic: { kind: "camera-command", camera, command: name }, event: "command.issued", data });
  }

  /** Records a final status that the camera itself has not sent. */
  noteEnded({ camera, name }: Pick<Issued, "camera" | "name">, update: CommandUpdate): void {
    const { command_id: id, status, error, code } = update;
    if (!isOfServer(update)) return;
    const data = { id, status, ...(error === undefined ? {} : { error }), code };
    this.#publish({ topic: { kind: "camera-command", camera, command: name }, event: "command.ended", data });
  }

  stop(): void {
    this.#limitedLog.stop();
  }

  #publish(event: Pick<BackendEvent, "topic" | "event" | "data">): void {
    this.#options.publish({ ...event, isRecordOnly: true }).catch((err: unknown) => {
      this.#limitedLog.note("not recorded", (times) =>
        this.#options.logger.warn({ err, times }, "command not recorded in the history"),
      );
    });
  }
}

/** The camera reports the other final statuses itself, in a reply. */
function isOfServer({ status, code }: CommandUpdate): boolean {
  return FINAL_COMMAND_STATUSES.has(status) && code !== undefined && code !== ReplyCode.commandRejected;
}
