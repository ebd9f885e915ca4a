import type { Logger } from "pino";
import { ulid } from "ulid";
import { z } from "zod";
import { ReplyCode } from "../../contract/codes.ts";
import {
  type CommandReply,
  type CommandStatus,
  DEFAULT_COMMAND_EXPIRES_IN,
  FINAL_COMMAND_STATUSES,
  MAX_COMMAND_EXPIRES_IN,
} from "../../contract/commands.ts";
import { MAX_JSON_DEPTH, timestampSchema } from "../../contract/events.ts";
import { jsonDepth, memberText } from "../../contract/json-text.ts";
import type { TopicTree } from "../../contract/topics.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { IncomingPublication } from "../../platform/publications.ts";
import type { Audit } from "../auth/audit.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { CommandRunner, CommandUpdate } from "./command-relay.ts";

/** A command that an MQTT client published below `commands/`, and that its permissions allow. */
export interface MqttCommand extends Pick<IncomingPublication, "identity" | "payload"> {
  camera: string;
  name: string;
  /** To be called when the camera has the command, or will not get it: until then a restart tells its sender. */
  settled(): void;
}

/** A command that an earlier run had acknowledged, and of which it has not heard that its camera had it. */
export type LostCommand = Pick<MqttCommand, "payload" | "camera" | "name">;

export interface MqttCommandsOptions {
  relay: CommandRunner;
  link: Pick<BrokerLink, "publish">;
  tree: TopicTree;
  audit: Pick<Audit, "record">;
  logger: Logger;
}

/** The broker puts its sender's name into it: what a client says of that is a claim. */
const commandSchema = z.object({
  id: z.string().min(1).max(64).optional(),
  args: z.record(z.string(), z.unknown()).default({}),
  expires_in: z.number().positive().optional(),
  expires_at: timestampSchema.optional(),
});

interface ToldEnd extends Pick<CommandUpdate, "status" | "error" | "code"> {
  /** Undefined when the command does not name itself. */
  command_id: string | undefined;
}

/** As a camera says it. Whether a camera did what it did not answer in time, nobody knows. */
const REPLIED: Partial<Record<CommandStatus, CommandReply["status"]>> = {
  ...{ rejected: "rejected", timed_out: "unknown", unknown: "unknown" },
};

/** A camera's own answers come by its replies; those of the relay are told there for who waits for one. */
const TOLD: ReadonlySet<ReplyCode | undefined> = new Set([
  ...[ReplyCode.badRequest, ReplyCode.deviceOffline, ReplyCode.limit, ReplyCode.rateLimited],
  ...[ReplyCode.storeUnavailable, ReplyCode.internal, ReplyCode.commandTimeout, ReplyCode.commandExpired],
]);

/**
 * Brings the commands of MQTT clients into the relay that those of HTTP and WebSockets go through: one queue for each
 * camera, one set of limits. Its sender hears of a refusal, and of a command that came to nothing, on the camera's
 * replies topic, in the form of a camera's own answer.
 */
export class MqttCommands {
  readonly #options: MqttCommandsOptions;
  readonly #limitedLog = new LimitedLog();

  constructor(options: MqttCommandsOptions) {
    this.#options = options;
  }

  /** Never throws: what cannot be done is told to the sender. */
  readonly take = (command: MqttCommand): void => {
    const { identity, camera, name, payload } = command;
    const { relay, audit } = this.#options;
    const text = payload.toString("utf8");
    const read = readCommand(text);
    if (!read.success) {
      command.settled();
      this.#tell(command, { command_id: undefined, status: "rejected", error: read.problem });
      return;
    }
    const { id, args, expires_in, expires_at } = read.data;
    const now = Date.now();
    const wanted = expires_in ?? (expires_at === undefined ? undefined : (Date.parse(expires_at) - now) / 1000);
    if (wanted !== undefined && wanted <= 0) {
      command.settled();
      this.#tell(command, { command_id: id, status: "failed", error: "it had expired when it came" });
      return;
    }
    const request = {
      ...{ camera, name, args, argsText: memberText(text, "args") },
      // The camera is told the shortened time: it stands in the command as `expires_at`.
      expires_in: Math.min(wanted ?? DEFAULT_COMMAND_EXPIRES_IN, MAX_COMMAND_EXPIRES_IN),
      ...(id === undefined ? {} : { id }),
      from: { who: identity, address: undefined },
    };
    relay.run(request, (update) => {
      if (update.status !== "sent") command.settled();
      if (!FINAL_COMMAND_STATUSES.has(update.status)) return;
      const target = `camera:${camera} ${name}`;
      audit.record({ action: "command", who: identity, address: undefined, target, outcome: update.status });
      if (TOLD.has(update.code)) this.#tell(command, update);
    });
  };

  /**
   * A command is not sent anew after a restart: how old it is nobody knows, and its camera may have carried it out. Its
   * sender is told so.
   */
  readonly lost = ({ payload, camera, name }: LostCommand): void => {
    const read = readCommand(payload.toString("utf8"));
    const command_id = read.success ? read.data.id : undefined;
    const error = "the server restarted before it heard what came of it";
    this.#tell({ identity: "unknown", camera, name }, { command_id, status: "unknown", error });
  };

  stop(): void {
    this.#limitedLog.stop();
  }

  #tell(
    { identity, camera, name }: Pick<MqttCommand, "identity" | "camera" | "name">,
    { command_id, status, error, code }: ToldEnd,
  ): void {
    const { link, tree, logger } = this.#options;
    this.#limitedLog.note(`${identity} ${camera} ${status} ${code}`, (times) =>
      logger.info({ identity, camera, command: name, status, error, times }, "a command by MQTT is not done"),
    );
    const topic = tree.build({ kind: "camera-reply", camera, command: name });
    const data = { command_id, status: REPLIED[status] ?? "failed", error, code };
    const said = { v: 1, id: ulid(), timestamp: new Date().toISOString(), event: "command.reply", data };
    const payload = Buffer.from(JSON.stringify(said));
    // Not into the journal: it is no word of the camera, and the relay reads there what cameras answer.
    link.publish({ topic, payload, qos: 1, retain: false }).catch((err: unknown) => {
      logger.warn({ err, camera, command: command_id }, "the end of a command is not published");
    });
  }
}

function readCommand(
  text: string,
): { success: true; data: z.output<typeof commandSchema> } | { success: false; problem: string } {
  if (jsonDepth(text) > MAX_JSON_DEPTH)
    return { success: false, problem: `it nests deeper than ${MAX_JSON_DEPTH} levels` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { success: false, problem: 'it is no JSON: a command is an object such as {"id": "1", "args": {}}' };
  }
  const read = commandSchema.safeParse(value);
  if (read.success) return { success: true, data: read.data };
  const problem = read.error.issues.map(({ path, message }) => [...path, message].join(" ")).join("; ");
  return { success: false, problem };
}
