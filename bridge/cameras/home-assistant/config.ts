import { z } from "zod";
import { DEFAULT_DISCOVERY_PREFIX } from "../../../contract/home-assistant.ts";
import {
  ConfigurationError,
  countVariable,
  defaultsOf,
  setting,
  topicRootVariable,
  type ValuesOf,
} from "../../../platform/config.ts";
import type { serverSettings } from "../../../platform/server-settings.ts";

export const homeAssistantSettings = {
  HOME_ASSISTANT_DISCOVERY: setting(
    "Whether each camera is announced to [Home Assistant](mqtt-integrations.md#home-assistant) by MQTT (`on`). The first start with `off` " +
      "clears what an earlier start has announced.",
    z.enum(["on", "off"], { error: "must be on or off" }).default("off"),
    { mustAgree: true },
  ),
  HOME_ASSISTANT_PREFIX: setting(
    "Topics of announcements to Home Assistant begin with this. The same as the discovery prefix in Home Assistant.",
    topicRootVariable.default(DEFAULT_DISCOVERY_PREFIX),
    { mustAgree: true },
  ),
  HOME_ASSISTANT_PICTURE_SECONDS: setting(
    "The shortest time between two pictures of one camera for Home Assistant, which gets the newest one. 0 = every picture.",
    countVariable.default(10),
    { mustAgree: true },
  ),
};

export type HomeAssistantConfig = ReturnType<typeof homeAssistantConfig>;

/** @throws {ConfigurationError} the topics of announcements and the topics below the root could be confused */
export function homeAssistantConfig(
  read: ValuesOf<typeof homeAssistantSettings & Pick<typeof serverSettings, "TOPIC_ROOT">>,
) {
  const { HOME_ASSISTANT_PREFIX: prefix, TOPIC_ROOT: root } = read;
  const isOn = read.HOME_ASSISTANT_DISCOVERY === "on";
  if (isOn && (`${prefix}/`.startsWith(`${root}/`) || `${root}/`.startsWith(`${prefix}/`)))
    throw new ConfigurationError([
      `HOME_ASSISTANT_PREFIX: "${prefix}" and TOPIC_ROOT "${root}" must differ, and none may begin with the other`,
    ]);
  return {
    /** Undefined: cameras are not announced. */
    discoveryPrefix: isOn ? prefix : undefined,
    pictureIntervalMs: read.HOME_ASSISTANT_PICTURE_SECONDS * 1000,
  };
}

export const DEFAULT_PICTURE_INTERVAL_MS =
  defaultsOf({ seconds: homeAssistantSettings.HOME_ASSISTANT_PICTURE_SECONDS }).seconds * 1000;
