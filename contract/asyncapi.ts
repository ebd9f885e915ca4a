import { z } from "zod";
import { cameraRecordSchema } from "./camera-records.ts";
import { CloseCode, ReplyCode } from "./codes.ts";
import {
  commandArgs,
  commandReplySchema,
  commandSchema,
  publishedCommandSchema,
  reportedScheduleSchema,
} from "./commands.ts";
import { desiredStateSchema } from "./desired.ts";
import {
  ALERT_ACKNOWLEDGED_EVENT,
  ALERT_MUTED_EVENT,
  ALERT_UNMUTED_EVENT,
  alertNoteSchema,
  alertSchema,
  cameraAboutSchema,
  captureCompletedSchema,
  captureFailedSchema,
  captureProgressSchema,
  captureStartedSchema,
  envelopeSchema,
  environmentSchema,
  errorOccurredSchema,
  jobRequestSchema,
  jobSchema,
  linkGapSchema,
  linkGapsSchema,
  linkSchema,
  outboxDroppedSchema,
  powerSchema,
  presenceSchema,
  publicationRefusedSchema,
  reportedSettingsSchema,
  resourcesSchema,
  storageSchema,
  systemStatusSchema,
} from "./events.ts";
import { homeAssistantStateSchema } from "./home-assistant-state.ts";
import { eventNameSchema, idSchema } from "./ids.ts";
import { type JsonSchema, jsonSchemaOf } from "./json-schema.ts";
import { clientMessageSchema, serverMessageSchema } from "./socket-messages.ts";

interface AsyncApiOptions {
  /** The version of the server. */
  version: string;
  /** `TOPIC_ROOT`. */
  root: string;
}

interface Message {
  summary?: string;
  contentType?: string;
  payload: JsonSchema;
}

interface TopicChannel {
  title: string;
  /** The publishers of the topic, as in `docs/mqtt.md`. */
  by: string;
  retained: boolean;
  /** By event, or by a name that is no event. */
  messages: Record<string, Message>;
}

/** An empty payload with the retain flag. */
const CLEARED: Message = {
  summary: "Clears the retained message",
  contentType: "application/octet-stream",
  payload: { type: "string", maxLength: 0 },
};
const PREVIEW: Message = {
  summary: "A JPEG of at most 64 KiB and 4096 × 4096 pixels",
  contentType: "image/jpeg",
  payload: { type: "string", format: "binary" },
};
/** Other events than those that the contract knows: the server passes them on unchanged. */
const OTHER: Message = { summary: "An event of any other name", payload: schemaOf(envelopeSchema) };

/**
 * The channel of each topic, by the topic's name below the root. A topic that matches several rows belongs to the first
 * row.
 */
const TOPICS: Record<string, TopicChannel> = {
  "cameras/{camera}/link": retained("Birth, farewell and will of a camera", "camera", {
    ...ofEvents(linkSchema, "camera.online", "camera.offline", "camera.sleeping"),
    bare: { summary: "The same without an envelope", payload: schemaOf(linkSchema) },
  }),
  "cameras/{camera}/about": retained("The description that a camera publishes", "camera", {
    ...ofEvents(cameraAboutSchema, "camera.about"),
  }),
  "cameras/{camera}/state/presence": retained("The presence of a camera", "backend", {
    ...ofEvents(presenceSchema, ...presenceSchema.shape.status.options.map((status) => `camera.${status}`)),
  }),
  "cameras/{camera}/state/gaps": retained("Lost messages of the last 48 hours", "backend", {
    ...ofEvents(linkGapsSchema, "link.gap"),
  }),
  "cameras/{camera}/state/desired": retained("The schedule and settings that people want a camera to have", "backend", {
    ...ofEvents(desiredStateSchema, "state.updated"),
  }),
  "cameras/{camera}/state/record": retained("What operators wrote about a camera, and its groups", "backend", {
    ...ofEvents(cameraRecordSchema, "camera.record"),
  }),
  "cameras/{camera}/state/capture": retained("The progress of captures", "camera", {
    ...ofEvents(captureProgressSchema, "capture.progress"),
  }),
  "cameras/{camera}/state/environment": retained("Sun and weather at a camera", "camera", {
    ...ofEvents(environmentSchema, "environmental.update"),
  }),
  "cameras/{camera}/state/settings": retained("The settings of a camera", "camera", {
    ...ofEvents(reportedSettingsSchema, "settings.applied"),
  }),
  "cameras/{camera}/state/schedule": retained("The schedule of a camera", "camera", {
    ...ofEvents(reportedScheduleSchema, "schedule.updated"),
  }),
  "cameras/{camera}/state/storage": retained("The disk of a camera", "camera", {
    ...ofEvents(storageSchema, "resource.update"),
  }),
  "cameras/{camera}/state/power": retained("The power of a camera", "camera", {
    ...ofEvents(powerSchema, "resource.update"),
  }),
  "cameras/{camera}/state/resources": retained("The processor and memory of a camera", "camera", {
    ...ofEvents(resourcesSchema, "resource.update"),
  }),
  "cameras/{camera}/state/{name}": retained("A further state of a camera", "camera", {
    ...ofEvents(z.unknown(), "state.updated"),
    other: OTHER,
  }),
  "cameras/{camera}/events/{event}": once("An event of a camera", "camera, backend", {
    ...ofEvents(captureStartedSchema, "capture.started"),
    ...ofEvents(captureCompletedSchema, "capture.completed"),
    ...ofEvents(captureFailedSchema, "capture.failed"),
    ...ofEvents(errorOccurredSchema, "error.occurred"),
    ...ofEvents(linkGapSchema, "link.gap"),
    ...ofEvents(outboxDroppedSchema, "outbox.dropped"),
    ...ofEvents(publicationRefusedSchema, "publication.refused"),
    other: OTHER,
  }),
  "cameras/{camera}/alerts/{name}": retained("An alert of a camera", "camera, backend", {
    ...ofEvents(alertSchema, "alert.raised"),
  }),
  "cameras/{camera}/alerts/{name}/{note}": retained("What people noted about an alert of a camera", "backend", {
    ...ofEvents(alertNoteSchema, ALERT_ACKNOWLEDGED_EVENT, ALERT_MUTED_EVENT, ALERT_UNMUTED_EVENT),
  }),
  "cameras/{camera}/previews/{capture}": once("The preview of a capture", "camera", {
    jpeg: PREVIEW,
  }),
  "cameras/{camera}/commands/{command}": once("A command for a camera", "users, backend", {
    published: { summary: "The command that a client publishes", payload: schemaOf(publishedCommandSchema) },
    ...Object.fromEntries(
      Object.entries(commandArgs).map(([name, args]) => [
        name,
        {
          summary: "The command that the camera receives",
          payload: schemaOf(commandSchema.extend({ name: z.literal(name), args })),
        },
      ]),
    ),
    other: { summary: "A command of any other name, as the camera gets it", payload: schemaOf(commandSchema) },
  }),
  "cameras/{camera}/replies/{command}": once("A reply to a command", "camera, backend", {
    ...ofEvents(
      commandReplySchema.extend({
        command_id: commandReplySchema.shape.command_id.optional(),
        code: z.enum(ReplyCode).optional(),
      }),
      "command.reply",
    ),
    bare: { summary: "The same without an envelope", payload: schemaOf(commandReplySchema) },
  }),
  "cameras/{camera}/{any}/{other}": retained("A camera's own topics", "camera", { other: OTHER }),
  "processing/{service}/link": retained("Birth, farewell and will of a service", "service", {
    ...ofEvents(linkSchema, "service.link"),
    bare: { summary: "The same without an envelope", payload: schemaOf(linkSchema) },
  }),
  "processing/{service}/jobs/{job}": retained("A job of a service", "service", {
    ...ofEvents(jobSchema, "job.progress", "job.completed", "job.failed"),
  }),
  "processing/{service}/events/{event}": once("An event of a service", "service, backend", {
    ...ofEvents(publicationRefusedSchema, "publication.refused"),
    other: OTHER,
  }),
  "processing/{service}/alerts/{name}": retained("An alert of a service", "service, backend", {
    ...ofEvents(alertSchema, "alert.raised"),
  }),
  "processing/{service}/alerts/{name}/{note}": retained("What people noted about an alert of a service", "backend", {
    ...ofEvents(alertNoteSchema, ALERT_ACKNOWLEDGED_EVENT, ALERT_MUTED_EVENT, ALERT_UNMUTED_EVENT),
  }),
  "processing/{service}/{any}/{other}": retained("A service's own topics", "service", { other: OTHER }),
  "system/status": retained("The status of the backend", "backend", {
    ...ofEvents(systemStatusSchema, "system.status"),
  }),
  "system/resources": retained("The processor and memory of the backend", "backend", {
    ...ofEvents(resourcesSchema, "resource.update"),
  }),
  "system/{name}": retained("A further state of the backend", "backend", { other: OTHER }),
  "home-assistant/{camera}/{name}": retained(
    "The state and the newest picture of a camera for Home Assistant",
    "backend",
    {
      state: { summary: "`state`, without an envelope", payload: schemaOf(homeAssistantStateSchema) },
      picture: { ...PREVIEW, summary: `\`picture\`, with QoS 0: ${PREVIEW.summary}` },
    },
  ),
  "channels/{channel}/events/{event}": once("A broadcast to a channel", "users, backend", {
    ...ofEvents(jobRequestSchema, "job.requested"),
    other: OTHER,
  }),
};

const PARAMETERS: Record<string, string> = {
  event: "The name of an event, such as `capture.completed`",
  command: "The name of a command, such as `capture.now`",
  channel: "A channel, such as `dashboard` or `camera:north`",
  note: "`acknowledgement` or `mute`",
  any: "Any level that no other topic has",
  other: "One or more levels",
};

/** The AsyncAPI 3.0 document of the WebSocket and of MQTT. "Receive" and "send" are meant from the server's side. */
export function asyncApi({ version, root }: AsyncApiOptions) {
  const topics = Object.entries(TOPICS).map(([topic, channel]) => ({ topic, id: idOf(topic), channel }));
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Skylapse Realtime",
      version,
      description:
        "WebSocket and MQTT of Skylapse Realtime. The HTTP API is in `/openapi.json`. A client sends its token in the " +
        "first WebSocket frame or as MQTT password, and never in a URL.",
      license: { name: "MIT" },
    },
    defaultContentType: "application/json",
    servers: {
      websocket: { host: "localhost:8082", pathname: "/ws", protocol: "ws", description: "`WS_PORT`, for dashboards" },
      mqtt: {
        ...{ host: "localhost:1883", protocol: "mqtt", protocolVersion: "3.1.1" },
        description: "`MQTT_PORT`, for cameras, processing services and other programs",
        security: [{ $ref: "#/components/securitySchemes/password" }],
      },
    },
    channels: {
      websocket: {
        address: "/ws",
        title: "The WebSocket",
        description:
          "JSON text frames. `auth` is the first frame of every connection. A close has a code of `CloseCode`.",
        servers: [{ $ref: "#/servers/websocket" }],
        messages: {
          ...socketMessages("client", clientMessageSchema.options),
          ...socketMessages("server", serverMessageSchema.options),
        },
      },
      ...Object.fromEntries(topics.map(({ topic, id, channel }) => [id, channelOf(`${root}/${topic}`, channel)])),
    },
    operations: {
      receiveFrame: socketOperation("receive", "client", clientMessageSchema.options),
      sendFrame: socketOperation("send", "server", serverMessageSchema.options),
      ...Object.fromEntries(topics.flatMap(({ id, channel }) => operationsOf(id, channel))),
    },
    components: {
      schemas: {
        EventName: schemaOf(eventNameSchema),
        Id: schemaOf(idSchema),
        ReplyCode: codesOf("Codes of replies on an open WebSocket", ReplyCode),
        CloseCode: codesOf(
          "Close codes of the WebSocket. 4000–4099: stop. 4100–4199: renew the token. Others: retry",
          CloseCode,
        ),
      },
      securitySchemes: {
        password: {
          type: "userPassword",
          description: "The password is a token, or the secret of the camera or service that the user name names",
        },
      },
    },
  };
}

function schemaOf(schema: z.ZodType): JsonSchema {
  return jsonSchemaOf(schema, "draft-7");
}

function retained(title: string, by: string, messages: TopicChannel["messages"]): TopicChannel {
  return { title, by, retained: true, messages: { ...messages, cleared: CLEARED } };
}

function once(title: string, by: string, messages: TopicChannel["messages"]): TopicChannel {
  return { title, by, retained: false, messages };
}

/** One message for each event, in an envelope. */
function ofEvents(data: z.ZodType, ...events: string[]): Record<string, Message> {
  return Object.fromEntries(
    events.map((event) => [event, { payload: schemaOf(envelopeSchema.extend({ event: z.literal(event), data })) }]),
  );
}

function idOf(topic: string): string {
  return topic.replaceAll(/[{}]/g, "").replaceAll("/", ".");
}

function channelOf(address: string, { title, by, messages }: TopicChannel) {
  const names = [...address.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
  const parameters = names.map((name) => [
    name,
    { description: PARAMETERS[name] ?? "1 to 63 of `a-z`, `0-9` and `-`" },
  ]);
  return {
    ...{ address, title, description: `Published by: ${by}` },
    servers: [{ $ref: "#/servers/mqtt" }],
    ...(names.length === 0 ? {} : { parameters: Object.fromEntries(parameters) }),
    messages,
  };
}

function operationsOf(id: string, { by, retained: retain, messages }: TopicChannel): [string, object][] {
  const operation = (action: "receive" | "send") => ({
    ...{ action, channel: { $ref: `#/channels/${id}` } },
    bindings: { mqtt: { qos: 1, retain } },
    messages: Object.keys(messages).map((name) => ({ $ref: `#/channels/${id}/messages/${name}` })),
  });
  const send: [string, object] = [`send.${id}`, operation("send")];
  return by === "backend" ? [send] : [[`receive.${id}`, operation("receive")], send];
}

type SocketMessage = (typeof clientMessageSchema.options | typeof serverMessageSchema.options)[number];

function socketName(side: "client" | "server", { shape }: SocketMessage): string {
  return `${side}.${shape.type.value}`;
}

function socketMessages(
  side: "client" | "server",
  options: readonly SocketMessage[],
): Record<string, Message & { name: string }> {
  return Object.fromEntries(
    options.map((option) => [
      socketName(side, option),
      { name: option.shape.type.value, summary: `Sent by the ${side}`, payload: withCodes(schemaOf(option)) },
    ]),
  );
}

/** Names the codes of a message: `auth_error` has a close code, all others a reply code. */
function withCodes(payload: JsonSchema): JsonSchema {
  const properties = payload.properties as Record<string, { const?: unknown }>;
  if (properties.code === undefined) return payload;
  const codes = properties.type?.const === "auth_error" ? "CloseCode" : "ReplyCode";
  return { ...payload, properties: { ...properties, code: { $ref: `#/components/schemas/${codes}` } } };
}

function socketOperation(action: "receive" | "send", side: "client" | "server", options: readonly SocketMessage[]) {
  return {
    ...{ action, channel: { $ref: "#/channels/websocket" } },
    messages: options.map((option) => ({ $ref: `#/channels/websocket/messages/${socketName(side, option)}` })),
  };
}

function codesOf(description: string, codes: Record<string, number>): JsonSchema {
  return {
    ...{ description, type: "integer" },
    oneOf: Object.entries(codes).map(([title, value]) => ({ const: value, title })),
  };
}
