import type { Logger } from "pino";
import { ulid } from "ulid";
import { z } from "zod";
import { ReplyCode } from "../../contract/codes.ts";
import type { Command, CommandRequest, CommandStatus } from "../../contract/commands.ts";
import { commandReplySchema, FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { linkSchema } from "../../contract/events.ts";
import type { TopicTree } from "../../contract/topics.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { Delivery } from "../../platform/publications.ts";
import { afterTime } from "../../platform/running-time.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Rates } from "../cluster/cluster.ts";
import { dataOf } from "../journal/entry-body.ts";
import type { Entry, Journal } from "../journal/journal.ts";
import { argsProblem, commandText, idOf, outcomeOf, tooFast, tooMany } from "./command-text.ts";
import { COMMAND_DEFAULTS } from "./config.ts";
import { type CommandUpdate, callToo, type Pending, PendingCommands } from "./pending-commands.ts";
import type { QueuedCommand, SharedCommandQueue, TakenCommand } from "./shared-command-queue.ts";

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
  /** The sender reads the outcome on the camera's replies topic. Default false. */
  isMqtt?: boolean;
  /** Default: a new id. A command whose id is already waiting or in flight is not sent again; both callers get its updates. */
  id?: string;
}

export interface CommandRelay extends CommandRunner {
  stats(): { queued: number; inFlight: number; lateReplies: number };
  /** Ends all pending commands: after this, their callers cannot be called back. */
  stop(): Promise<void>;
}

export interface CommandRelayOptions {
  link: Pick<BrokerLink, "publish" | "connected" | "onDelivered" | "unavailableReason">;
  journal: Pick<Journal, "follow">;
  tree: TopicTree;
  /** A sleeping camera's commands wait. An offline camera's commands fail at once. */
  isSleeping: (camera: string) => boolean;
  /** Counts the commands of a user at all nodes. Default: this is the only node. */
  rates?: Rates | undefined;
  /** The queue that this node shares with other nodes. Default: this is the only node. */
  queue?: SharedCommandQueue;
  /** Called when a camera has carried out a command, before its sender is called. */
  onSucceeded?: (command: Pick<Pending, "camera" | "payload">) => void;
  /** Called with each status of a command that this node has taken over from a dead node. */
  onTakenUpdate?: (taken: TakenCommand, update: CommandUpdate) => void;
  /** The most commands that wait for one camera, without the one in flight. */
  maxQueuedPerCamera?: number;
  /** The most commands that wait or are in flight, for all cameras together. */
  maxPending?: number;
  /** The most commands of one user per minute, by HTTP, WebSocket and MQTT together. Default: no limit. */
  maxPerMinute?: number;
  logger: Logger;
}

/** How long a process that stood still reads the camera's replies before it calls a command expired, milliseconds. */
const EXPIRY_READ_MS = 5_000;

/** A status is reported only if it ranks higher than the previous one. */
const RANK: Readonly<Record<CommandStatus | "queued", number>> = {
  ...{ queued: 0, sent: 1, delivered: 2, accepted: 3 },
  ...{ succeeded: 4, failed: 4, rejected: 4, unknown: 4, timed_out: 4, expired: 4 },
};

type Outcome = Pick<CommandUpdate, "result" | "error" | "code">;

const bodySchema = z.object({ data: commandReplySchema });

export function startCommandRelay(options: CommandRelayOptions): CommandRelay {
  const { link, journal, tree, isSleeping, queue, rates, onTakenUpdate = () => {}, onSucceeded, logger } = options;
  const { maxQueuedPerCamera, maxPending } = { ...COMMAND_DEFAULTS, ...options };
  const { maxPerMinute = Number.POSITIVE_INFINITY } = options;
  const issuedBy = new FixedWindowCounter();
  const commands = new PendingCommands();
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
    if (status === "succeeded") onSucceeded?.(pending);
    report(pending, { command_id: id, camera, status, ...outcome });
    if (final) sendNext(camera);
  }

  function remove(pending: Pending): void {
    pending.endExpiry();
    if (commands.remove(pending)) void queue?.leave(pending.camera, pending.id);
  }

  /** Sends the next command if the camera is connected and has no command in flight. */
  function sendNext(camera: string): void {
    if (stopped || !commands.has(camera) || !link.connected(`device:${camera}`)) return;
    const next = commands.takeNext(camera);
    if (next === undefined) return;
    advance(next, "sent");
    send(next);
  }

  /** Adds a command to those of its camera, where it waits. */
  function add(given: Omit<Pending, "status" | "endExpiry" | "isFirst">, expiresInMs: number): Pending {
    const pending: Pending = { ...given, status: "queued", endExpiry: () => {}, isFirst: queue === undefined };
    pending.endExpiry = afterTime(expiresInMs, EXPIRY_READ_MS, () => expire(pending));
    commands.add(pending);
    return pending;
  }

  /** Adds a command of a dead node, or sends one again that this node had before it was taken for dead itself. */
  function take(taken: TakenCommand): () => void {
    const { id, camera, name, text, by, expiresAt } = taken;
    const pending =
      commands.find(camera, id) ??
      add(
        {
          ...{ id, camera, by, payload: Buffer.from(text) },
          topic: tree.build({ kind: "camera-command", camera, command: name }),
          onUpdate: (update) => onTakenUpdate(taken, update),
        },
        expiresAt - Date.now(),
      );
    return () => {
      pending.isFirst = true;
      if (commands.inFlight(camera) === pending) send(pending);
      else sendNext(camera);
    };
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
    const inFlight = commands.inFlight(camera);
    if (inFlight?.status === "sent") send(inFlight);
  }

  async function enterSharedQueue(
    queue: SharedCommandQueue,
    pending: Pending,
    command: QueuedCommand,
    expiresAt: number,
  ): Promise<void> {
    const { id, camera, by } = pending;
    try {
      const window = { name: "commands", key: by, limit: maxPerMinute };
      const [exceededMs = 0] = (await rates?.exceededForMs([window])) ?? [];
      if (exceededMs > 0) {
        advance(pending, "failed", { code: ReplyCode.rateLimited, error: tooFast(maxPerMinute) });
        return;
      }
      const isEntered = await queue.enter(camera, id, command, expiresAt, () => {
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
    const pending = commands.find(topic.camera, idOf(payload));
    if (pending !== undefined) advance(pending, "delivered");
  }

  function onReply(camera: string, entry: Entry): void {
    const body = bodySchema.safeParse(JSON.parse(`{${entry.body}}`));
    if (!body.success) {
      const { topic } = entry;
      limitedLog.note(`invalid ${camera}`, (times) => logger.info({ camera, topic, times }, "command reply invalid"));
      return;
    }
    const { command_id, status, result, error } = body.data.data;
    // A command that still waits here was sent by the node that has taken it over.
    const pending = commands.find(camera, command_id);
    if (pending === undefined) {
      lateReplies++;
      limitedLog.note(`late ${camera}`, (times) =>
        logger.info({ camera, command: command_id, status, times }, "late command reply ignored"),
      );
      return;
    }
    // A camera that answers has received the command, even if its PUBACK has not arrived.
    advance(pending, "delivered");
    advance(pending, status, outcomeOf(status, result, error));
  }

  queue?.takeOver(take);
  const unsubscribe = link.onDelivered(onDelivered);
  const unfollow = journal.follow((entries) => {
    for (const entry of entries) {
      if (entry.camera === undefined) continue;
      const topic = entry.topic.includes("/replies/") ? tree.parse(entry.topic) : undefined;
      if (topic?.kind === "camera-reply") onReply(topic.camera, entry);
      if (!commands.has(entry.camera)) continue;
      if (isBirth(tree, entry)) resend(entry.camera);
      // Any message of a camera may mean that it woke up.
      sendNext(entry.camera);
    }
  });

  return {
    run({ camera, name, args, argsText, expires_in, from, isMqtt = false, id: given }, onUpdate) {
      const id = given ?? ulid();
      const refuse = (status: CommandStatus, code: ReplyCode, error: string) =>
        report({ onUpdate }, { command_id: id, camera, status, code, error });

      if (stopped) return refuse("failed", ReplyCode.internal, "the server is stopping");
      const same = given === undefined ? undefined : commands.find(camera, given);
      if (same !== undefined) return isMqtt ? undefined : callToo(same, onUpdate);
      if (issuedBy.add(from.who) > maxPerMinute) return refuse("failed", ReplyCode.rateLimited, tooFast(maxPerMinute));
      const problem = argsProblem(name, args);
      if (problem !== undefined) return refuse("rejected", ReplyCode.badRequest, problem);
      const { unavailableReason } = link;
      if (unavailableReason !== undefined) return refuse("failed", ReplyCode.storeUnavailable, unavailableReason);
      if (!link.connected(`device:${camera}`) && !isSleeping(camera))
        return refuse("failed", ReplyCode.deviceOffline, `the camera ${camera} is not connected`);
      if (commands.waitingFor(camera) >= maxQueuedPerCamera || commands.count >= maxPending)
        return refuse("failed", ReplyCode.limit, tooMany(camera));

      const issuedAt = Date.now();
      const expiresInMs = expires_in * 1000;
      const by = from.who;
      const command: Command = {
        ...{ id, name, args, issued_by: by },
        issued_at: new Date(issuedAt).toISOString(),
        expires_at: new Date(issuedAt + expiresInMs).toISOString(),
      };
      const text = commandText(command, argsText);
      const topic = tree.build({ kind: "camera-command", camera, command: name });
      const pending = add({ id, camera, by, topic, payload: Buffer.from(text), onUpdate }, expiresInMs);
      sendNext(camera);
      if (queue !== undefined)
        void enterSharedQueue(queue, pending, { name, text, by, isMqtt }, issuedAt + expiresInMs);
    },
    stats() {
      const inFlight = commands.inFlightCount;
      return { queued: commands.count - inFlight, inFlight, lateReplies };
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      unsubscribe();
      unfollow();
      const notSent = { error: "the server stopped before the command was sent", code: ReplyCode.internal };
      // The status is `timed_out`, not `failed`: the camera may still run the command.
      const notAnswered = { error: "the server stopped before the camera answered", code: ReplyCode.commandTimeout };
      for (const pending of commands.all())
        if (pending.status === "queued") advance(pending, "failed", notSent);
        else advance(pending, "timed_out", notAnswered);
      limitedLog.stop();
      await queue?.stop();
    },
  };
}

const isBirth = (tree: TopicTree, entry: Entry) =>
  tree.parse(entry.topic)?.kind === "camera-link" && linkSchema.safeParse(dataOf(entry)).data?.status === "online";
