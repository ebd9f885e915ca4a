import type { Logger } from "pino";
import { ulid } from "ulid";
import { z } from "zod";
import { ReplyCode } from "../../contract/codes.ts";
import type { Command, CommandReply, CommandRequest, CommandStatus } from "../../contract/commands.ts";
import { commandArgs, commandReplySchema, FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { linkSchema } from "../../contract/events.ts";
import type { TopicTree } from "../../contract/topics.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { Delivery } from "../../platform/publications.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import { dataOf } from "../journal/entry-body.ts";
import type { Entry, Journal } from "../journal/journal.ts";
import { COMMAND_DEFAULTS } from "./config.ts";
import type { SharedCommandQueue } from "./shared-command-queue.ts";

export interface CommandRunner {
  /**
   * Runs a command, whose permissions the caller has checked. Calls back with every status that the command reaches, in
   * order; the last is one of `FINAL_COMMAND_STATUSES`. The first call may happen before this method returns.
   */
  run(request: IssuedCommand, onUpdate: (update: CommandUpdate) => void): void;
}

interface IssuedCommand extends CommandRequest {
  /** `who` is recorded in the audit log and sent to the camera as `issued_by`. An unknown address is undefined. */
  from: { who: string; address: string | undefined };
  /** The JSON of `args` as the sender wrote it: numbers beyond the precision of a double stay unchanged. */
  argsText?: string | undefined;
  /** Default: a new id. A command whose id is already waiting or in flight is a duplicate and is ignored. */
  id?: string;
}

export interface CommandUpdate {
  command_id: string;
  camera: string;
  status: CommandStatus;
  result?: unknown;
  error?: string;
  /** Why the relay ended the command; `commandRejected` when the camera rejected it. */
  code?: ReplyCode;
}

export interface CommandRelay extends CommandRunner {
  stats(): { queued: number; inFlight: number; lateReplies: number };
  /** Ends all pending commands: after this, their callers cannot be called back. */
  stop(): Promise<void>;
}

export interface CommandRelayOptions {
  link: Pick<BrokerLink, "publish" | "connected" | "onDelivered">;
  journal: Pick<Journal, "follow">;
  tree: TopicTree;
  /** A sleeping camera's commands wait. An offline camera's commands fail at once. */
  isSleeping: (camera: string) => boolean;
  /** The queue that this node shares with other nodes. Default: this is the only node. */
  queue?: SharedCommandQueue;
  /** The most commands that wait for one camera, without the one in flight. */
  maxQueuedPerCamera?: number;
  /** The most commands that wait or are in flight, for all cameras together. */
  maxPending?: number;
  /** The most commands of one user per minute, by HTTP, WebSocket and MQTT together. Default: no limit. */
  maxPerMinute?: number;
  logger: Logger;
}

/** A status is reported only if it ranks higher than the previous one. */
const RANK: Readonly<Record<CommandStatus | "queued", number>> = {
  ...{ queued: 0, sent: 1, delivered: 2, accepted: 3 },
  ...{ succeeded: 4, failed: 4, rejected: 4, unknown: 4, timed_out: 4, expired: 4 },
};

/**
 * A pending command. Its statuses:
 *
 * ```
 *   queued ──▶ sent ──▶ delivered ──▶ accepted ──▶ succeeded | failed | rejected | unknown   (the camera's replies)
 *     │          │          └────────────┴───────▶ timed_out   at expires_at: acknowledged, not answered
 *     └──────────┴───────────────────────────────▶ expired     at expires_at: not acknowledged
 * ```
 */
interface Pending {
  id: string;
  topic: string;
  camera: string;
  /** The identity that issued the command. */
  by: string;
  payload: Buffer;
  status: CommandStatus | "queued";
  onUpdate: (update: CommandUpdate) => void;
  expiry: NodeJS.Timeout | undefined;
  /** The command is the first in the shared queue. */
  isFirst: boolean;
}

/** One command is in flight at a time, so that the camera runs the commands in the order in which they were issued. */
interface CameraCommands {
  inFlight: Pending | undefined;
  waiting: Pending[];
}

type Outcome = Pick<CommandUpdate, "result" | "error" | "code">;

const deliveredSchema = z.object({ id: z.string() });
const bodySchema = z.object({ data: commandReplySchema });

export function startCommandRelay(options: CommandRelayOptions): CommandRelay {
  const { link, journal, tree, isSleeping, queue, logger } = options;
  const { maxQueuedPerCamera, maxPending } = { ...COMMAND_DEFAULTS, ...options };
  const { maxPerMinute = Number.POSITIVE_INFINITY } = options;
  const issuedBy = new FixedWindowCounter();
  const byCamera = new Map<string, CameraCommands>();
  let pendingCount = 0;
  const limitedLog = new LimitedLog();
  let lateReplies = 0;
  let stopped = false;

  function report(pending: Pick<Pending, "onUpdate">, update: CommandUpdate): void {
    try {
      pending.onUpdate(update);
    } catch (error) {
      logger.error({ err: error, command: update.command_id, camera: update.camera }, "command update callback failed");
    }
  }

  function advance(pending: Pending, status: CommandStatus, outcome: Outcome = {}): void {
    if (RANK[status] <= RANK[pending.status]) return;
    pending.status = status;
    const final = FINAL_COMMAND_STATUSES.has(status);
    if (final) remove(pending);
    const { id, camera, by } = pending;
    logger.info({ command: id, camera, by, status, code: outcome.code }, "command status changed");
    report(pending, { command_id: id, camera, status, ...outcome });
    if (final) sendNext(camera);
  }

  function remove(pending: Pending): void {
    clearTimeout(pending.expiry);
    const commands = byCamera.get(pending.camera);
    if (commands === undefined) return;
    if (commands.inFlight === pending) commands.inFlight = undefined;
    else commands.waiting = commands.waiting.filter((other) => other !== pending);
    pendingCount--;
    void queue?.leave(pending.camera, pending.id);
    if (commands.inFlight === undefined && commands.waiting.length === 0) byCamera.delete(pending.camera);
  }

  /** Sends the next command if the camera is connected and has no command in flight. */
  function sendNext(camera: string): void {
    const commands = byCamera.get(camera);
    if (stopped || commands === undefined || commands.inFlight !== undefined) return;
    if (!link.connected(`device:${camera}`)) return;
    const next = commands.waiting[0];
    if (next === undefined || !next.isFirst) return;
    commands.waiting.shift();
    commands.inFlight = next;
    advance(next, "sent");
    send(next);
  }

  function isPending(camera: string, id: string): boolean {
    const { inFlight, waiting = [] } = byCamera.get(camera) ?? {};
    return inFlight?.id === id || waiting.some((pending) => pending.id === id);
  }

  function send(pending: Pending): void {
    const { id, camera, topic, payload } = pending;
    link.publish({ topic, payload, qos: 1, retain: false }).catch((error) => {
      logger.warn({ err: error, command: id, camera }, "command not published");
      const why = "the broker did not accept the command: try again";
      advance(pending, "failed", { error: why, code: ReplyCode.internal });
    });
  }

  /** The camera has a new connection: a command that it did not acknowledge on the old connection may be lost. */
  function resend(camera: string): void {
    const inFlight = byCamera.get(camera)?.inFlight;
    if (inFlight?.status === "sent") send(inFlight);
  }

  async function enterSharedQueue(queue: SharedCommandQueue, pending: Pending, expiresAt: number): Promise<void> {
    const { id, camera } = pending;
    try {
      const isEntered = await queue.enter(camera, id, expiresAt, () => {
        pending.isFirst = true;
        sendNext(camera);
      });
      if (!isEntered) advance(pending, "failed", { code: ReplyCode.limit, error: tooMany(camera) });
    } catch (error) {
      logger.warn({ err: error, command: id, camera }, "command not queued");
      const why = "the store is unavailable, so commands cannot be queued: try again in a moment";
      advance(pending, "failed", { code: ReplyCode.storeUnavailable, error: why });
    }
  }

  function expire(pending: Pending): void {
    if (RANK[pending.status] >= RANK.delivered) {
      const error = "the camera received the command and did not answer in time";
      advance(pending, "timed_out", { error, code: ReplyCode.commandTimeout });
      return;
    }
    // When a link becomes silent, nobody knows which of the last messages arrived.
    const sent = "the camera did not acknowledge the command in time: it may or may not have received it";
    const error = pending.status === "queued" ? "the command waited too long and was not sent" : sent;
    advance(pending, "expired", { error, code: ReplyCode.commandExpired });
  }

  function onDelivered({ identity, topic: name, payload }: Delivery): void {
    const topic = tree.parse(name);
    // Only the camera's own acknowledgement is used: an administrator may also subscribe to commands.
    if (topic?.kind !== "camera-command" || identity !== `device:${topic.camera}`) return;
    const inFlight = byCamera.get(topic.camera)?.inFlight;
    if (inFlight !== undefined && inFlight.id === idOf(payload)) advance(inFlight, "delivered");
  }

  function onReply(camera: string, entry: Entry): void {
    const body = bodySchema.safeParse(JSON.parse(`{${entry.body}}`));
    if (!body.success) {
      const { topic } = entry;
      limitedLog.note(`invalid ${camera}`, (times) => logger.info({ camera, topic, times }, "command reply invalid"));
      return;
    }
    const { command_id, status, result, error } = body.data.data;
    const inFlight = byCamera.get(camera)?.inFlight;
    if (inFlight?.id !== command_id) {
      lateReplies++;
      limitedLog.note(`late ${camera}`, (times) =>
        logger.info({ camera, command: command_id, status, times }, "late command reply ignored"),
      );
      return;
    }
    // A camera that answers has received the command, even if its PUBACK has not arrived.
    advance(inFlight, "delivered");
    advance(inFlight, status, outcomeOf(status, result, error));
  }

  const unsubscribe = link.onDelivered(onDelivered);
  const unfollow = journal.follow((entries) => {
    for (const entry of entries) {
      if (entry.camera === undefined) continue;
      const topic = entry.topic.includes("/replies/") ? tree.parse(entry.topic) : undefined;
      if (topic?.kind === "camera-reply") onReply(topic.camera, entry);
      if (!byCamera.has(entry.camera)) continue;
      if (isBirth(tree, entry)) resend(entry.camera);
      // Any message of a camera may mean that it woke up.
      sendNext(entry.camera);
    }
  });

  return {
    run({ camera, name, args, argsText, expires_in, from, id: given }, onUpdate) {
      const id = given ?? ulid();
      const refuse = (status: CommandStatus, code: ReplyCode, error: string) =>
        report({ onUpdate }, { command_id: id, camera, status, code, error });

      if (stopped) return refuse("failed", ReplyCode.internal, "the server is stopping");
      if (given !== undefined && isPending(camera, given)) return;
      if (issuedBy.add(from.who) > maxPerMinute)
        return refuse(
          "failed",
          ReplyCode.rateLimited,
          `more than ${maxPerMinute} commands in a minute: wait a minute and try again`,
        );
      const problem = argsProblem(name, args);
      if (problem !== undefined) return refuse("rejected", ReplyCode.badRequest, problem);
      if (!link.connected(`device:${camera}`) && !isSleeping(camera))
        return refuse("failed", ReplyCode.deviceOffline, `the camera ${camera} is not connected`);
      const commands = byCamera.get(camera) ?? { inFlight: undefined, waiting: [] };
      if (commands.waiting.length >= maxQueuedPerCamera || pendingCount >= maxPending)
        return refuse("failed", ReplyCode.limit, tooMany(camera));

      const issuedAt = Date.now();
      const command: Command = {
        ...{ id, name, args, issued_by: from.who },
        issued_at: new Date(issuedAt).toISOString(),
        expires_at: new Date(issuedAt + expires_in * 1000).toISOString(),
      };
      const pending: Pending = {
        ...{ id, camera, by: from.who, status: "queued", onUpdate, expiry: undefined, isFirst: queue === undefined },
        topic: tree.build({ kind: "camera-command", camera, command: name }),
        payload: Buffer.from(commandText(command, argsText)),
      };
      pending.expiry = setTimeout(() => expire(pending), expires_in * 1000);
      commands.waiting.push(pending);
      byCamera.set(camera, commands);
      pendingCount++;
      sendNext(camera);
      if (queue !== undefined) void enterSharedQueue(queue, pending, issuedAt + expires_in * 1000);
    },
    stats() {
      const inFlight = [...byCamera.values()].filter((commands) => commands.inFlight !== undefined).length;
      return { queued: pendingCount - inFlight, inFlight, lateReplies };
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      unsubscribe();
      unfollow();
      for (const { inFlight, waiting } of [...byCamera.values()]) {
        const notSent = { error: "the server stopped before the command was sent", code: ReplyCode.internal };
        for (const pending of waiting) advance(pending, "failed", notSent);
        // The status is `timed_out`, not `failed`: the camera may still run the command.
        const notAnswered = { error: "the server stopped before the camera answered", code: ReplyCode.commandTimeout };
        if (inFlight !== undefined) advance(inFlight, "timed_out", notAnswered);
      }
      limitedLog.stop();
      await queue?.stop();
    },
  };
}

const isBirth = (tree: TopicTree, entry: Entry) =>
  tree.parse(entry.topic)?.kind === "camera-link" && linkSchema.safeParse(dataOf(entry)).data?.status === "online";

/** The arguments stay as the sender wrote them. */
function commandText({ args, ...rest }: Command, argsText: string | undefined): string {
  return `${JSON.stringify(rest).slice(0, -1)},"args":${argsText ?? JSON.stringify(args)}}`;
}

const tooMany = (camera: string) => `too many commands wait for camera ${camera}: try again later`;

/** Explains what is wrong with the arguments. Only the camera knows the arguments of commands outside the contract. */
function argsProblem(name: string, args: Readonly<Record<string, unknown>>): string | undefined {
  const schema = Object.entries(commandArgs).find(([known]) => known === name)?.[1];
  const result = schema?.safeParse(args);
  if (result === undefined || result.success) return undefined;
  return `${name}: ${problemsOf(result.error)}`;
}

export function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => [...path, message].join(" ")).join("; ");
}

function idOf(payload: Buffer): string | undefined {
  try {
    return deliveredSchema.safeParse(JSON.parse(payload.toString("utf8"))).data?.id;
  } catch {
    return undefined;
  }
}

function outcomeOf(status: CommandReply["status"], result: unknown, error: string | undefined) {
  return {
    ...(result === undefined ? {} : { result }),
    ...(error === undefined ? {} : { error }),
    ...(status === "rejected" ? { code: ReplyCode.commandRejected } : {}),
  };
}
