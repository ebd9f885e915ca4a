import { describe, expect, it } from "vitest";
import { announcement, OPTIONAL_VALUES } from "../../../../bridge/cameras/home-assistant/announcement.ts";
import { homeAssistantState } from "../../../../bridge/cameras/home-assistant/state.ts";
import { commandSchema, publishedCommandSchema } from "../../../../contract/commands.ts";
import { CAMERA_ALERTS } from "../../../../contract/events.ts";
import { discoveredCamera, discoveryTopic, homeAssistantId } from "../../../../contract/home-assistant.ts";
import { grantsOf } from "../../../../contract/permissions.ts";
import { topicTree } from "../../../../contract/topics.ts";
import { discovered, type HomeAssistantComponent, shown } from "./home-assistant-schema.ts";

const PREFIX = "homeassistant";
const LOCATION = { lat: 46, lon: 8, timezone: "Europe/Zurich" };
const ABOUT = { model: "Arducam IMX519", firmware: "1.2.0", location: LOCATION, capture_interval_s: 30 };
const NOTHING = { about: undefined, states: new Map(), alerts: new Map() };

function announced(
  id: string,
  about: unknown,
  { root = "skylapse/v1", known = [...OPTIONAL_VALUES], isDirect = false } = {},
) {
  const tree = topicTree(root, PREFIX);
  const payload = announcement({ id, about, known: new Set(known), tree, isDirect, version: "1.0.0" });
  const components = discovered(PREFIX, discoveryTopic(PREFIX, root, id), JSON.stringify(payload));
  return { tree, payload, components };
}

/** The topics that Home Assistant subscribes to for an entity. */
function filtersOf(entity: HomeAssistantComponent): string[] {
  const own = [entity.platform === "image" ? entity.image_topic : undefined, entity.json_attributes_topic];
  const state = entity.platform === "sensor" || entity.platform === "binary_sensor" ? [entity.state_topic] : [];
  return [...own, ...state, ...(entity.availability ?? []).map(({ topic }) => topic)].flatMap((topic) => topic ?? []);
}

describe("an announcement", () => {
  it.each([
    ["a camera of this project", "north", { ...ABOUT, name: "North ridge" }, "North ridge"],
    ["a camera without about", "north", undefined, "north"],
    ["the shortest and a strange name", "0", { ...ABOUT, name: '"{{ 1 }}"\n\u202e/#+' }, '"{{ 1 }}"\n\u202e/#+'],
    ["the longest id and an empty name", "a-".repeat(31), { ...ABOUT, name: "  " }, "a-".repeat(31)],
    ["an about of other types", "x-1", { name: 7, model: null, firmware: ["1"] }, "x-1"],
    ["an about that is no object", "x--1", "a camera", "x--1"],
  ])("is accepted by Home Assistant for %s", (_, id, about, name) => {
    const { payload, components } = announced(id, about);
    expect(payload.device.name).toBe(name);
    expect(components.size).toBe(23);
  });

  it("is accepted below a root with characters that a discovery topic may not have", () => {
    const { payload, components } = announced("north", ABOUT, { root: "höhe 1/v1" });
    expect(payload.device.identifiers).toEqual(["h-he-1_v1_north"]);
    expect(components.get("reboot")).toMatchObject({ command_topic: "höhe 1/v1/cameras/north/commands/reboot" });
  });

  it("has only the sensors whose values the camera has published", () => {
    const { components } = announced("north", ABOUT, { known: ["battery_percent"] });
    expect(OPTIONAL_VALUES.filter((name) => components.has(name))).toEqual(["battery_percent"]);
  });

  it("names topics that dashboard:read and camera:control allow, and payloads that are commands", () => {
    const { tree, components } = announced("north", ABOUT);
    const grants = grantsOf(["dashboard:read", "camera:control"], { tree });
    for (const entity of components.values()) {
      expect(filtersOf(entity).filter((filter) => !grants.canSubscribe(filter))).toEqual([]);
      if (entity.platform !== "button") continue;
      expect(grants.canWriteTopic(entity.command_topic)).toBe(true);
      expect(publishedCommandSchema.safeParse(JSON.parse(entity.payload_press)).success).toBe(true);
    }
  });

  it("has buttons that publish whole commands if another broker passes them to the camera", () => {
    const { components } = announced("north", ABOUT, { isDirect: true });
    for (const name of ["capture_now", "reboot"]) {
      const button = components.get(name);
      const template = button?.platform === "button" ? (button.command_template ?? "") : "";
      const now = "2026-03-01T06:30:00Z";
      const text = template.replaceAll(/\{\{ [^{}]*strftime[^{}]* \}\}/g, now).replace(/\{\{ [^{}]* \| int \}\}/, "1");
      expect(commandSchema.parse(JSON.parse(text))).toMatchObject({
        ...{ id: "home-assistant-1", name: name.replace("_", "."), args: {}, issued_at: now, expires_at: now },
      });
      expect(publishedCommandSchema.safeParse(JSON.parse(text)).success).toBe(true);
    }
  });

  it("has entities that understand every state, and show an unknown value as unknown", () => {
    const { components } = announced("north", ABOUT);
    const state = JSON.stringify(homeAssistantState(NOTHING, undefined));
    const read = [...components].filter(
      ([name, { platform }]) => platform.includes("sensor") && !name.endsWith("_result"),
    );
    const known = read.flatMap(([name, entity]) => {
      const value = shown(entity, state);
      return value === undefined ? [] : [[name, value]];
    });
    const alerts = CAMERA_ALERTS.map((name) => [`alert_${name.replaceAll("-", "_")}`, "OFF"]);
    expect(known).toEqual([["problem", "OFF"], ...alerts]);
  });
});

describe("the topic of an announcement", () => {
  const tree = topicTree("skylapse/v1", PREFIX);

  it("names the camera", () => {
    const topic = discoveryTopic(PREFIX, tree.root, "north");
    expect(topic).toBe("homeassistant/device/skylapse_v1_north/config");
    expect(discoveredCamera(tree, topic)).toBe("north");
    expect(discoveredCamera(topicTree("skylapse/v1"), topic)).toBeUndefined();
    expect(homeAssistantId("a/b", "c")).not.toBe(homeAssistantId("a", "c"));
  });

  it.each([
    ...["homeassistant/device/other_v1_north/config", "homeassistant/sensor/skylapse_v1_north/config"],
    ...[
      "homeassistant/device/skylapse_v1_North/config",
      "homeassistant/device/skylapse_v1_north",
      "homeassistant/status",
    ],
    ...["other/device/skylapse_v1_north/config", "homeassistant/device/skylapse_v1_north/config/config"],
  ])("%s is the topic of no camera", (topic) => {
    expect(discoveredCamera(tree, topic)).toBeUndefined();
  });
});
