import { setTimeout } from "node:timers/promises";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { cameraChannel, JOBS } from "../../../contract/channels.ts";
import {
  ALERT_ACKNOWLEDGED_EVENT,
  ALERT_MUTED_EVENT,
  ALERT_UNMUTED_EVENT,
  type AlertNoteData,
  alertNoteSchema,
  timestampSchema,
} from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import type { AlertNote, Topic } from "../../../contract/topics.ts";
import { dataOf } from "../../journal/entry-body.ts";
import { adminOf, demand } from "../callers.ts";
import { badRequest, notFound, RequestError } from "../errors.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

/** The longest mute, minutes: 30 days. A mute that nobody remembers would hide an alert for ever. */
export const MAX_MUTE_MINUTES = 43_200;
/** How long a request waits for the acknowledgement that somebody else has just written at another node, milliseconds. */
const OTHERS_NOTE_MS = 2_000;
/** The most acknowledgements and mutes of one camera or service: each is a retained message. */
export const MAX_ALERT_NOTES = 200;

const paramsSchema = z.object({ id: idSchema, name: idSchema });
const muteSchema = z
  .strictObject({
    minutes: z.number().int().min(1).max(MAX_MUTE_MINUTES).optional(),
    until: timestampSchema.optional(),
  })
  .refine(({ minutes, until }) => (minutes === undefined) !== (until === undefined), {
    message: "must have either `minutes` or `until`",
  });

type Kind = "camera" | "processing";
type AlertTopic = Extract<Topic, { kind: "camera-alert" | "service-alert" }>;
type NoteTopic = Extract<Topic, { kind: "camera-alert-note" | "service-alert-note" }>;

type Action = "acknowledge" | "mute" | "unmute";

interface Target {
  alert: AlertTopic;
  /** `camera:north`, for the audit log. */
  owner: string;
  who: string;
  address: string;
}

const EVENTS: Record<Action, string> = {
  acknowledge: ALERT_ACKNOWLEDGED_EVENT,
  mute: ALERT_MUTED_EVENT,
  unmute: ALERT_UNMUTED_EVENT,
};

const noteJson = { is: "Who did it and when", json: alertNoteSchema };

function descriptions(kind: Kind): Record<Action, RouteDescription> {
  const of = kind === "camera" ? "a camera" : "a processing service";
  const common = {
    ...{ group: "Alerts", path: paramsSchema, errors: ["404 not_found", "409 limit"] as const },
    permissions: kind === "camera" ? ["camera:control", "camera:{id}:control"] : ["admin"],
  };
  return {
    acknowledge: { ...common, summary: `Acknowledges a raised alert of ${of}`, responses: { 200: noteJson } },
    mute: {
      ...{ ...common, summary: `Mutes a raised alert of ${of} for a time`, body: muteSchema },
      responses: { 200: noteJson },
    },
    unmute: {
      ...{ ...common, summary: `Ends the mute of an alert of ${of}`, errors: ["404 not_found"] },
      responses: { 204: { is: "The alert is not muted" } },
    },
  };
}

/**
 * `POST …/alerts/{name}/acknowledge`, `POST …/alerts/{name}/mute` and `DELETE …/alerts/{name}/mute` of cameras and of
 * processing services. What people noted is a retained topic below the alert, which only the server writes.
 */
export function alertNoteRoutes(server: FastifyInstance, services: Services): void {
  const { addressOf, audit, callers, clock, journal, publish, tree } = services;
  for (const kind of ["camera", "processing"] as const) routesOf(kind);

  function routesOf(kind: Kind): void {
    const path = `${kind === "camera" ? "/cameras" : "/processing"}/:id/alerts/:name`;
    const { acknowledge, mute, unmute } = descriptions(kind);

    server.post(`${path}/acknowledge`, described(acknowledge), async (request) => {
      const target = targetOf(kind, request);
      // The first acknowledgement stays: it says who noticed the alert.
      return noteAt(noteTopicOf(target.alert, "acknowledgement")) ?? (await write(target, "acknowledge", clock.now()));
    });

    server.post(`${path}/mute`, described(mute), async (request) => {
      const target = targetOf(kind, request);
      const now = clock.now();
      return await write(target, "mute", now, endOf(readBody(muteSchema, request.body), now));
    });

    server.delete(`${path}/mute`, described(unmute), async (request, reply) => {
      const target = targetOf(kind, request);
      const now = clock.now();
      const { until = "" } = noteAt(noteTopicOf(target.alert, "mute")) ?? {};
      if (!(Date.parse(until) > now)) throw notFound("The alert is not muted");
      // A mute that has ended, so that the event says who ended it. The watcher of alerts then clears the topic.
      await write(target, "unmute", now, now);
      return reply.code(204).send();
    });
  }

  /** @throws {RequestError} 401, 403 */
  function targetOf(kind: Kind, request: FastifyRequest): Target {
    const caller = kind === "camera" ? callers.of(request) : adminOf(callers, request);
    const { id, name } = readPath(paramsSchema, request);
    if (kind === "camera") demand(caller.grants.canCommand(id), `camera:${id}:control`);
    const alert: AlertTopic =
      kind === "camera" ? { kind: "camera-alert", camera: id, name } : { kind: "service-alert", service: id, name };
    return { alert, owner: `${kind}:${id}`, who: caller.name, address: addressOf(request.raw) };
  }

  function noteAt(topic: NoteTopic): AlertNoteData | undefined {
    const entry = journal.state(tree.build(topic));
    return entry === undefined ? undefined : alertNoteSchema.safeParse(dataOf(entry)).data;
  }

  /** @throws {RequestError} 404 the alert is neither raised nor muted, 409 too many notes */
  async function write(target: Target, action: Action, now: number, until?: number): Promise<AlertNoteData> {
    const { alert, owner, who, address } = target;
    const topic = noteTopicOf(alert, action === "acknowledge" ? "acknowledgement" : "mute");
    const raised = journal.state(tree.build(alert));
    const isHeld = noteAt(topic) !== undefined;
    if (raised === undefined && (action === "acknowledge" || !isHeld)) throw notFound("The alert is not raised");
    if (!isHeld && countNotes(alert) >= MAX_ALERT_NOTES)
      throw new RequestError(409, "limit", `There are ${MAX_ALERT_NOTES} acknowledgements and mutes already`);
    // A mute may outlast its alert. The note names the camera still, so that only its readers get the note.
    const about = raised ?? journal.state(tree.build(topic));
    const camera = alert.kind === "service-alert" ? about?.camera : undefined;
    const data: AlertNoteData = {
      ...{ alert: alert.name, by: who, at: timeOf(now) },
      ...(until === undefined ? {} : { until: timeOf(until) }),
      ...(camera === undefined ? {} : { camera }),
    };
    const event = { topic, event: EVENTS[action], data, retain: true };
    if (action === "acknowledge") {
      // Of two people at two nodes, the first one has acknowledged the alert, so both events have the same id and sender.
      const id = `acknowledged.${journal.epoch}.${raised?.position}`;
      const { position } = await publish({ ...event, id });
      if (position === undefined) return await othersNote(topic);
    } else await publish({ ...event, sender: who });
    audit.record({ action: `alert.${action}`, who, address, target: `${owner} ${alert.name}`, outcome: "done" });
    return data;
  }

  /** @throws {RequestError} 404 the alert was cleared meanwhile, and its acknowledgement with it */
  async function othersNote(topic: NoteTopic): Promise<AlertNoteData> {
    const name = tree.build(topic);
    if (noteAt(topic) === undefined) {
      const read = new AbortController();
      const unfollow = journal.follow((entries) => {
        if (entries.some((entry) => entry.topic === name)) read.abort();
      });
      await setTimeout(OTHERS_NOTE_MS, undefined, { signal: read.signal, ref: false }).catch(() => undefined);
      unfollow();
    }
    const note = noteAt(topic);
    if (note === undefined) throw notFound("The alert is not raised");
    return note;
  }

  function countNotes(alert: AlertTopic): number {
    const channel = alert.kind === "camera-alert" ? cameraChannel(alert.camera) : JOBS;
    const below = tree.build(alert).slice(0, -alert.name.length);
    return journal
      .snapshot(channel)
      .filter(({ topic }) => topic.startsWith(below) && topic.slice(below.length).includes("/")).length;
  }

  function endOf({ minutes, until }: z.output<typeof muteSchema>, now: number): number {
    const end = until === undefined ? now + (minutes ?? 0) * 60_000 : Date.parse(until);
    if (end <= now) throw badRequest("`until` must be in the future");
    if (end > now + MAX_MUTE_MINUTES * 60_000) throw badRequest(`A mute lasts at most ${MAX_MUTE_MINUTES} minutes`);
    return end;
  }
}

function noteTopicOf(alert: AlertTopic, note: AlertNote): NoteTopic {
  const { name } = alert;
  return alert.kind === "camera-alert"
    ? { kind: "camera-alert-note", camera: alert.camera, name, note }
    : { kind: "service-alert-note", service: alert.service, name, note };
}

const timeOf = (ms: number) => new Date(ms).toISOString();
