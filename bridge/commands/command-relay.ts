import type { Logger } from "pino";
import { ulid } from "ulid";
import { z } from "zod";
import { ReplyCode } from "../../contract/codes.ts";
import {
  type Command,
  type CommandReply,
  type CommandRequest,
  type CommandStatus,
  commandArgs,
  commandReplySchema,
  FINAL_COMMAND_STATUSES,
} from "../../contract/commands.ts";
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

/** Brings commands to cameras and says truthfully what came of them. */
export interface CommandRunner {
  /**
   * Whether the caller may command the camera is checked before. Calls back with every status the command reaches,
   * in order, the last of them one of `FINAL_COMMAND_STATUSES`; the first perhaps before this returns.
   */
  run(request: GivenCommand, onUpdate: (update: CommandUpdate) => void): void;
}

export interface GivenCommand extends CommandRequest {
  from: CommandOrigin;
  /** The JSON text of `args` as it was sent: a number that a double cannot hold is passed on as it is. */
  argsText?: string | undefined;
  /** The name that its sender gave it. One that waits or is in flight already is a repetition. Default: a new one. */
  id?: string;
}

/** Who gives a command, and where from. */
export interface CommandOrigin {
  /** `user:alice`, `operator`: for the audit log, and as `issued_by` for the camera. */
  who: string;
  /** Undefined where it is not known. */
  address: string | undefined;
}

export interface CommandUpdate {
  command_id: string;
  camera: string;
  status: CommandStatus;
  result?: unknown;
  error?: string;
  /** Why it ended, when it was not the camera that said so. */
  code?: ReplyCode;
}

export interface CommandRelay extends CommandRunner {
  stats(): { queued: number; inFlight: number; lateReplies: number };
  /** Ends what is pending: nobody is left to tell of an answer. */
  stop(): Promise<void>;
}

export interface CommandRelayOptions {
  link: Pick<BrokerLink, "publish" | "connected" | "onDelivered">;
  journal: Pick<Journal, "follow">;
  tree: TopicTree;
  /** Commands wait for a sleeping camera; for one that is offline they fail at once. */
  isSleeping: (camera: string) => boolean;
  /** The order over all nodes; undefined for a node that is alone. */
  queue?: SharedCommandQueue;
  /** Commands that wait for one camera behind the one in flight. */
  maxQueuedPerCamera?: number;
  /** Commands that wait or are in flight, all cameras together. */
  maxPending?: number;
  /** Commands that one user gives in a minute, by whichever door. Default: no limit. */
  maxPerMinute?: number;
  logger: Logger;
}

/** How far a command has come: a status is told once, and never after a later one. */
const RANK: Readonly<Record<CommandStatus | "queued", number>> = {
  queued: 0,
  sent: 1,
  delivered: 2,
  accepted: 3,
  succeeded: 4,
  failed: 4,
  rejected: 4,
  unknown: 4,
  timed_out: 4,
  expired: 4,
};

/**
 * ```
 *   queued ──▶ sent ──▶ delivered ──▶ accepted ──▶ succeeded | failed | rejected | unknown   (the camera's replies)
 *     │          │          └────────────┴───────▶ timed_out   at expires_at: it has it, and does not answer
 *     └──────────┴───────────────────────────────▶ expired     at expires_at: it never said that it got it
 * ```
 */
interface Pending {
  id: string;
  topic: string;
  camera: string;
  payload: Buffer;
  status: CommandStatus | "queued";
  onUpdate: (update: CommandUpdate) => void;
  expiry: NodeJS.Timeout | undefined;
  /** No command of another node comes before it. */
  hasTurn: boolean;
}

/** One camera's commands: one in flight, so that they are done in the order they were given. */
interface Lane {
  inFlight: Pending | undefined;
  queue: Pending[];
}

const deliveredSchema = z.object({ id: z.string() });
const bodySchema = z.object({ data: commandReplySchema });

export function startCommandRelay(options: CommandRelayOptions): CommandRelay {
  const { link, journal, tree, isSleeping, queue, logger } = options;
  const { maxQueuedPerCamera, maxPending } = { ...COMMAND_DEFAULTS, ...options };
  const { maxPerMinute = Number.POSITIVE_INFINITY } = options;
  const givenBy = new FixedWindowCounter();
  const lanes = new Map<string, Lane>();
  let pendingCount = 0;
  const limitedLog = new LimitedLog();
  let lateReplies = 0;
  let stopped = false;

  function tell(pending: Pick<Pending, "onUpdate">, update: CommandUpdate): void {
    try {
      pending.onUpdate(update);
    } catch (error) {
      logger.error({ err: error, command: update.command_id }, "command update not taken");
    }
  }

  function advance(
    pending: Pending,
    status: CommandStatus,
    said: Pick<CommandUpdate, "result" | "error" | "code"> = {},
  ) {
    if (RANK[status] <= RANK[pending.status]) return;
    pending.status = status;
    const final = FINAL_COMMAND_STATUSES.has(status);
    if (final) forget(pending);
    logger.info({ command: pending.id, camera: pending.camera, status, code: said.code }, "command");
    tell(pending, { command_id: pending.id, camera: pending.camera, status, ...said });
    if (final) pump(pending.camera);
  }

  function forget(pending: Pending): void {
    clearTimeout(pending.expiry);
    const lane = lanes.get(pending.camera);
    if (lane === undefined) return;
    if (lane.inFlight === pending) lane.inFlight = undefined;
    else lane.queue = lane.queue.filter((other) => other !== pending);
    pendingCount--;
    void queue?.leave(pending.camera, pending.id);
    if (lane.inFlight === undefined && lane.queue.length === 0) lanes.delete(pending.camera);
  }

  /** Sends the next command, when the camera is there and has none. */
  function pump(camera: string): void {
    const lane = lanes.get(camera);
    if (stopped || lane === undefined || lane.inFlight !== undefined || !link.connected(`device:${camera}`)) return;
    const next = lane.queue[0];
    if (next === undefined || !next.hasTurn) return;
    lane.queue.shift();
    lane.inFlight = next;
    advance(next, "sent");
    send(next);
  }

  function isPending(camera: string, id: string): boolean {
    const lane = lanes.get(camera);
    return lane?.inFlight?.id === id || lane?.queue.some((pending) => pending.id === id) === true;
  }

  function send(pending: Pending): void {
    const { id, camera, topic, payload } = pending;
    link.publish({ topic, payload, qos: 1, retain: false }).catch((error) => {
      logger.warn({ err: error, command: id, camera }, "command not published");
      advance(pending, "failed", { error: "the broker did not take the command", code: ReplyCode.internal });
    });
  }

  /** A new connection: what went into the one before, and was not acknowledged there, it may never have got. */
  function born(camera: string): void {
    const inFlight = lanes.get(camera)?.inFlight;
    if (inFlight?.status === "sent") send(inFlight);
  }

  async function awaitTurn(queue: SharedCommandQueue, pending: Pending, expiresAt: number): Promise<void> {
    const { id, camera } = pending;
    try {
      const taken = await queue.enter({ camera, id, expiresAt }, () => {
        pending.hasTurn = true;
        pump(camera);
      });
      if (!taken) advance(pending, "failed", { code: ReplyCode.limit, error: tooMany(camera) });
    } catch (error) {
      logger.warn({ err: error, command: id, camera }, "command not queued");
      const why = "the store is away, and with it the queue of the commands: try again in a moment";
      advance(pending, "failed", { code: ReplyCode.storeUnavailable, error: why });
    }
  }

  function expire(pending: Pending): void {
    if (RANK[pending.status] >= RANK.delivered)
      advance(pending, "timed_out", {
        error: "the camera has it and did not answer in time",
        code: ReplyCode.commandTimeout,
      });
    else
      advance(pending, "expired", {
        // Of a link that fell silent nobody knows how far the last words went.
        error:
          pending.status === "queued"
            ? "it waited too long and was not sent"
            : "the camera did not acknowledge it in time: whether it got it is not known",
        code: ReplyCode.commandExpired,
      });
  }

  function delivered({ identity, topic: name, payload }: Delivery): void {
    const topic = tree.parse(name);
    // Only the camera's own acknowledgement: an administrator may listen in on commands, too.
    if (topic?.kind !== "camera-command" || identity !== `device:${topic.camera}`) return;
    const inFlight = lanes.get(topic.camera)?.inFlight;
    if (inFlight !== undefined && inFlight.id === idOf(payload)) advance(inFlight, "delivered");
  }

  function replied(camera: string, entry: Entry): void {
    const body = bodySchema.safeParse(JSON.parse(`{${entry.body}}`));
    if (!body.success) {
      const { topic } = entry;
      limitedLog.note(`not understood ${camera}`, (times) =>
        logger.info({ camera, topic, times }, "reply not understood"),
      );
      return;
    }
    const { command_id, status, result, error } = body.data.data;
    const inFlight = lanes.get(camera)?.inFlight;
    if (inFlight?.id !== command_id) {
      lateReplies++;
      limitedLog.note(`late ${camera}`, (times) =>
        logger.info({ camera, command: command_id, status, times }, "late reply dropped"),
      );
      return;
    }
    // Who answers has it, whether or not its PUBACK has come.
    advance(inFlight, "delivered");
    advance(inFlight, status, saidBy(status, result, error));
  }

  const unlisten = link.onDelivered(delivered);
  const unfollow = journal.follow((entries) => {
    for (const entry of entries) {
      if (entry.camera === undefined) continue;
      const topic = entry.topic.includes("/replies/") ? tree.parse(entry.topic) : undefined;
      if (topic?.kind === "camera-reply") replied(topic.camera, entry);
      if (!lanes.has(entry.camera)) continue;
      if (isBirth(tree, entry)) born(entry.camera);
      // Anything that a camera says may mean that it woke up.
      pump(entry.camera);
    }
  });

  return {
    run({ camera, name, args, argsText, expires_in, from, id: given }, onUpdate) {
      const id = given ?? ulid();
      const refuse = (status: CommandStatus, code: ReplyCode, error: string) =>
        tell({ onUpdate }, { command_id: id, camera, status, code, error });

      if (stopped) return refuse("failed", ReplyCode.internal, "the server is stopping");
      if (given !== undefined && isPending(camera, given)) return;
      if (givenBy.add(from.who) > maxPerMinute)
        return refuse("failed", ReplyCode.rateLimited, `more than ${maxPerMinute} commands of one user in a minute`);
      const problem = argsProblem(name, args);
      if (problem !== undefined) return refuse("rejected", ReplyCode.badRequest, problem);
      if (!link.connected(`device:${camera}`) && !isSleeping(camera))
        return refuse("failed", ReplyCode.deviceOffline, `the camera ${camera} is not connected`);
      const lane = lanes.get(camera) ?? { inFlight: undefined, queue: [] };
      if (lane.queue.length >= maxQueuedPerCamera || pendingCount >= maxPending)
        return refuse("failed", ReplyCode.limit, tooMany(camera));

      const issuedAt = Date.now();
      const command: Command = {
        id,
        name,
        args,
        issued_by: from.who,
        issued_at: new Date(issuedAt).toISOString(),
        expires_at: new Date(issuedAt + expires_in * 1000).toISOString(),
      };
      const pending: Pending = {
        id,
        topic: tree.build({ kind: "camera-command", camera, command: name }),
        camera,
        payload: Buffer.from(commandText(command, argsText)),
        status: "queued",
        onUpdate,
        expiry: undefined,
        hasTurn: queue === undefined,
      };
      pending.expiry = setTimeout(() => expire(pending), expires_in * 1000);
      lane.queue.push(pending);
      lanes.set(camera, lane);
      pendingCount++;
      pump(camera);
      if (queue !== undefined) void awaitTurn(queue, pending, issuedAt + expires_in * 1000);
    },
    stats() {
      const inFlight = [...lanes.values()].filter((lane) => lane.inFlight !== undefined).length;
      return { queued: pendingCount - inFlight, inFlight, lateReplies };
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      unlisten();
      unfollow();
      for (const { inFlight, queue } of [...lanes.values()]) {
        for (const pending of queue)
          advance(pending, "failed", { error: "the server stopped before it was sent", code: ReplyCode.internal });
        // Not `failed`: the camera may well do it.
        if (inFlight !== undefined)
          advance(inFlight, "timed_out", {
            error: "the server stopped before the camera answered",
            code: ReplyCode.commandTimeout,
          });
      }
      limitedLog.stop();
      await queue?.stop();
    },
  };
}

function isBirth(tree: TopicTree, entry: Entry): boolean {
  return (
    tree.parse(entry.topic)?.kind === "camera-link" && linkSchema.safeParse(dataOf(entry)).data?.status === "online"
  );
}

/** With the arguments as they were sent. */
function commandText({ args, ...rest }: Command, argsText: string | undefined): string {
  return `${JSON.stringify(rest).slice(0, -1)},"args":${argsText ?? JSON.stringify(args)}}`;
}

const tooMany = (camera: string) => `too many commands wait for the camera ${camera}: try again later`;

/** What is wrong with the arguments of a command of the contract. A camera may know others: those it judges itself. */
function argsProblem(name: string, args: Readonly<Record<string, unknown>>): string | undefined {
  const schema = Object.entries(commandArgs).find(([known]) => known === name)?.[1];
  const result = schema?.safeParse(args);
  if (result === undefined || result.success) return undefined;
  return `${name}: ${result.error.issues.map(({ path, message }) => [...path, message].join(" ")).join("; ")}`;
}

function idOf(payload: Buffer): string | undefined {
  try {
    const read = deliveredSchema.safeParse(JSON.parse(payload.toString("utf8")));
    return read.success ? read.data.id : undefined;
  } catch {
    return undefined;
  }
}

function saidBy(status: CommandReply["status"], result: unknown, error: string | undefined) {
  return {
    ...(result === undefined ? {} : { result }),
    ...(error === undefined ? {} : { error }),
    ...(status === "rejected" ? { code: ReplyCode.commandRejected } : {}),
  };
}
