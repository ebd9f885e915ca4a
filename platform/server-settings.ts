import { z } from "zod";
import { DEFAULT_TOPIC_ROOT } from "../contract/topics.ts";
import { quoted } from "../contract/visible-text.ts";
import { limitSetting, limitVariable, listVariable, setting, topicRootVariable } from "./config.ts";
import { normalOrigin } from "./origins.ts";

/** Settings of several parts of the server. */
export const serverSettings = {
  HOST: setting(
    "Address to listen on. On any address other than loopback, `JWT_SECRET` and `OPERATOR_KEY` must be set.",
    z
      .string()
      .regex(/^[^\s/]+$/, "must be an address to listen on, such as 127.0.0.1 or 0.0.0.0")
      .default("127.0.0.1"),
  ),
  DATA_PATH: setting("Folder for everything durable.", z.string().default("./data")),
  TOPIC_ROOT: setting("Topics of this system begin with this.", topicRootVariable.default(DEFAULT_TOPIC_ROOT), {
    mustAgree: true,
  }),
  ALLOWED_ORIGINS: setting(
    "Origins of web pages that may call the server and connect to it, besides its own page. Separated by commas, such as " +
      "`https://sky.example.org`. Applies to HTTP, WebSocket and MQTT over WebSocket.",
    listVariable.transform(readOrigins).default([]),
    { mustAgree: true },
  ),
  MAX_PAYLOAD_BYTES: setting(
    "Size of one event: the payload of an MQTT publication or will, or the body of an HTTP request with a valid token. " +
      "JSON nested deeper than 32 levels is kept as text.",
    limitVariable.default(262_144),
    { mustAgree: true },
  ),
  MAX_QUEUED_BYTES: setting(
    "Bytes sent to one client that it has not read yet. Above this, a dashboard gets its events from the journal later, " +
      "and an MQTT client gets no more messages of QoS 0.",
    limitVariable.default(262_144),
  ),
  MAX_CAMERAS: limitSetting(10_000, "Cameras whose presence is followed and whose newest preview is kept.", {
    mustAgree: true,
  }),
};

function readOrigins(texts: string[], context: z.RefinementCtx): string[] {
  return texts.flatMap((text) => {
    const origin = normalOrigin(text);
    if (origin !== undefined) return [origin];
    context.addIssue({ code: "custom", message: `${quoted(text)} is no origin, such as https://sky.example.org` });
    return [];
  });
}
