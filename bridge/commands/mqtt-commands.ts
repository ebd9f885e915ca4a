import type { Logger } from "pino";
import { ulid } from "ulid";
import type { z } from "zod";
import { ReplyCode } from "../../contract/codes.ts";
import type { CommandReply, CommandStatus } from "../../contract/commands.ts";
import {
  DEFAULT_COMMAND_EXPIRES_IN,
  FINAL_COMMAND_STATUSES,
  MAX_COMMAND_EXPIRES_IN,
  publishedCommandSchema,
} from "../../contract/commands.ts";
import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import { jsonDepth, memberText } from "../../contract/json-text.ts";
import type { TopicTree } from "../../contract/topics.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { IncomingPublication } from "../../platform/publications.ts";
import type { Audit } from "../auth/audit.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { CommandRunner } from "./command-relay.ts";
import { problemsOf } from "./command-text.ts";
import type { CommandUpdate } from "./pending-commands.ts";
import type { SharedCommandQueue } from "./shared-command-queue.ts";

/** A command that an MQTT client published below `commands/`. The broker has checked the client's permissions. */
interface MqttCommand extends Pick<IncomingPublication, "identity" | "payload"> {
  /** The command's id if its sender gave none. */
  id: string;
  camera: string;
  name: string;
  /**
   * Called when the camera has the command or will not receive it. A restart before that call makes the command a
   * {@link LostCommand}.
   */
  settled(): void;
}

/** A command that an earlier run of the server acknowledged to its sender, but may not have sent to the camera. */
export type LostCommand = Pick<MqttCommand, "id" | "payload" | "camera" | "name">;

interface MqttCommandsOptions {
  relay: CommandRunner;
  /** Undefined when this is the only node. */
  queue: Pick<SharedCommandQueue, "has"> | undefined;
  link: Pick<BrokerLink, "publish">;
  tree: TopicTree;
  audit: Pick<Audit, "record">;
  logger: Logger;
}

interface Outcome extends Pick<CommandUpdate, "status" | "error" | "code"> {
  /** Undefined when the command has no id. */
  command_id: string | undefined;
}

/** The reply's status; `failed` if not listed here. `unknown`: the camera may have run a command that timed out. */
const REPLY_STATUS: Partial<Record<CommandStatus, CommandReply["status"]>> = {
  ...{ rejected: "rejected", timed_out: "unknown", unknown: "unknown" },
};

/** The relay reports these outcomes on the replies topic. The camera itself reports all others there. */
const REPORTED_CODES: ReadonlySet<ReplyCode | undefined> = new Set([
  ...[ReplyCode.badRequest, ReplyCode.deviceOffline, ReplyCode.limit, ReplyCode.rateLimited],
  ...[ReplyCode.storeUnavailable, ReplyCode.internal, ReplyCode.commandTimeout, ReplyCode.commandExpired],
]);

/**
 * Passes the commands of MQTT clients to the command relay, so that they share its queues and limits with those of HTTP
 * and WebSocket clients. Refusals and failures are reported to the sender like a camera's own reply, on the camera's
 * replies topic.
 */
export class MqttCommands {
  readonly #options: MqttCommandsOptions;
  readonly #limitedLog = new LimitedLog();

  constructor(options: MqttCommandsOptions) {
    this.#options = options;
  }

  /** Never throws: errors are reported to the sender. */
  readonly run = (command: MqttCommand): void => {
    const { identity, camera, name, payload } = command;
    const { relay, audit } = this.#options;
    const text = payload.toString("utf8");
    const read = readCommand(text);
    if (!read.success) {
      command.settled();
      this.#reply(command, { command_id: undefined, status: "rejected", error: read.problem });
      return;
    }
    const { id = command.id, args, expires_in, expires_at } = read.data;
    const now = Date.now();
    const requested = expires_in ?? (expires_at === undefined ? undefined : (Date.parse(expires_at) - now) / 1000);
    if (requested !== undefined && requested <= 0) {
      command.settled();
      this.#reply(command, { command_id: id, status: "failed", error: "the command had expired before it arrived" });
      return;
    }
    const request = {
      ...{ camera, name, args, argsText: memberText(text, "args") },
      // The camera receives the shortened time as `expires_at`.
      expires_in: Math.min(requested ?? DEFAULT_COMMAND_EXPIRES_IN, MAX_COMMAND_EXPIRES_IN),
      ...{ id, isMqtt: true },
      from: { who: identity, address: undefined },
    };
    relay.run(request, (update) => {
      if (update.status !== "sent") command.settled();
      if (!FINAL_COMMAND_STATUSES.has(update.status)) return;
      const target = `camera:${camera} ${name}`;
      audit.record({ action: "command", who: identity, address: undefined, target, outcome: update.status });
      this.report(command, update);
    });
  };

  /** Reports a final status, unless the camera itself reports it. */
  report(command: Pick<MqttCommand, "identity" | "camera" | "name">, update: CommandUpdate): void {
    if (REPORTED_CODES.has(update.code)) this.#reply(command, update);
  }

  /**
   * Reports the command as `unknown`, unless another node has taken it over. It is not sent again: it may be old, and the
   * camera may have run it already.
   */
  readonly reportLost = ({ id, payload, camera, name }: LostCommand): void => {
    const { queue, logger } = this.#options;
    const read = readCommand(payload.toString("utf8"));
    const command_id = read.success ? (read.data.id ?? id) : undefined;
    const isTaken = command_id === undefined ? undefined : queue?.has(camera, command_id);
    const error = "the server restarted before it knew the outcome of the command";
    Promise.resolve(isTaken).then(
      (taken = false) => {
        if (!taken) this.#reply({ identity: "unknown", camera, name }, { command_id, status: "unknown", error });
      },
      (err: unknown) => logger.warn({ err, camera, command: command_id }, "outcome of a lost command not reported"),
    );
  };

  stop(): void {
    this.#limitedLog.stop();
  }

  #reply(
    { identity, camera, name }: Pick<MqttCommand, "identity" | "camera" | "name">,
    { command_id, status, error, code }: Outcome,
  ): void {
    const { link, tree, logger } = this.#options;
    this.#limitedLog.note(`${identity} ${camera} ${status} ${code}`, (times) =>
      logger.info({ identity, camera, command: name, status, error, times }, "MQTT command failed"),
    );
    const topic = tree.build({ kind: "camera-reply", camera, command: name });
    const data = { command_id, status: REPLY_STATUS[status] ?? "failed", error, code };
    const message = { v: 1, id: ulid(), timestamp: new Date().toISOString(), event: "command.reply", data };
    const payload = Buffer.from(JSON.stringify(message));
    // The reply does not go through the journal: there, the relay would take it for a reply of the camera.
    link.publish({ topic, payload, qos: 1, retain: false }).catch((err: unknown) => {
      logger.warn({ err, camera, command: command_id }, "command outcome not published");
    });
  }
}

type Read = { success: true; data: z.output<typeof publishedCommandSchema> } | { success: false; problem: string };

function readCommand(text: string): Read {
  if (jsonDepth(text) > MAX_JSON_DEPTH)
    return { success: false, problem: `the command is nested deeper than ${MAX_JSON_DEPTH} levels` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { success: false, problem: 'the command is not JSON: publish an object such as {"id": "1", "args": {}}' };
  }
  const read = publishedCommandSchema.safeParse(value);
  return read.success ? read : { success: false, problem: problemsOf(read.error) };
}
