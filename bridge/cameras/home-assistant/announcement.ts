import { z } from "zod";
import { commandReplySchema, DEFAULT_COMMAND_EXPIRES_IN } from "../../../contract/commands.ts";
import { CAMERA_ALERTS, type CameraAlertName, cameraAboutSchema, presenceSchema } from "../../../contract/events.ts";
import { homeAssistantId } from "../../../contract/home-assistant.ts";
import type { TopicTree } from "../../../contract/topics.ts";

/** Values that not every camera has: the sensor is announced once the camera has published the value. */
export const OPTIONAL_VALUES = [
  ...(["capture_interval_s", "storage_used_percent", "storage_free_gb", "battery_percent"] as const),
  ...(["temperature_c", "processor_temperature_c"] as const),
] as const;
export type OptionalValue = (typeof OPTIONAL_VALUES)[number];

interface AnnouncedCamera {
  id: string;
  about: unknown;
  /** The optional values that the camera has published, now or earlier. */
  known: ReadonlySet<OptionalValue>;
  tree: TopicTree;
  /** Whether the camera gets commands from another broker as they are published, and not from the server. */
  isDirect: boolean;
  /** The version of the server. */
  version: string;
}

type Options = Readonly<Record<string, unknown>>;
type Component = Options & { platform: string; name: string };

/** Valid while the camera is disconnected too: without an availability of its own, a component is always available. */
const ALWAYS = { availability: [] };
const DIAGNOSTIC = { entity_category: "diagnostic" };
const MEASUREMENT = { state_class: "measurement" };

const OPTIONAL_SENSORS: Readonly<Record<OptionalValue, Options & { name: string }>> = {
  capture_interval_s: {
    ...{ name: "Capture interval", device_class: "duration", unit_of_measurement: "s", icon: "mdi:timer-outline" },
    ...DIAGNOSTIC,
  },
  storage_used_percent: {
    ...{ name: "Storage used", unit_of_measurement: "%", icon: "mdi:harddisk" },
    ...{ ...MEASUREMENT, ...DIAGNOSTIC },
  },
  storage_free_gb: {
    ...{ name: "Storage free", device_class: "data_size", unit_of_measurement: "GB", icon: "mdi:harddisk" },
    ...{ ...MEASUREMENT, ...DIAGNOSTIC },
  },
  battery_percent: {
    ...{ name: "Battery", device_class: "battery", unit_of_measurement: "%", ...MEASUREMENT, ...DIAGNOSTIC },
  },
  temperature_c: { name: "Temperature", device_class: "temperature", unit_of_measurement: "°C", ...MEASUREMENT },
  processor_temperature_c: {
    ...{ name: "Processor temperature", device_class: "temperature", unit_of_measurement: "°C" },
    ...{ ...MEASUREMENT, ...DIAGNOSTIC },
  },
};

const ALERT_NAMES: Readonly<Record<CameraAlertName, string>> = {
  offline: "Offline for too long",
  overslept: "Overslept",
  "no-capture": "No captures",
  battery: "Battery low",
  disk: "Storage full",
  "disk-writes": "Storage not writable",
  failures: "Captures fail",
  "duplicate-client-id": "Duplicate client id",
};

/** A reply is the data of an envelope, or the payload itself. */
const REPLY = "(value_json.data | default(value_json))";

/**
 * The announcement of a camera as a device with its components, for MQTT discovery of Home Assistant 2024.12 or newer.
 * The names of the members are Home Assistant's.
 * @see https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
 */
export function announcement({ id, about, known, tree, isDirect, version }: AnnouncedCamera) {
  const deviceId = homeAssistantId(tree.root, id);
  const state = tree.build({ kind: "home-assistant", of: id, name: "state" });
  const components = Object.entries({ ...fixedComponents(id, tree, isDirect), ...optionalSensors(known) });
  return {
    device: { identifiers: [deviceId], manufacturer: "Skylapse", ...deviceNames(id, about) },
    origin: { name: "Skylapse Realtime", sw_version: version },
    // The next three members are the defaults of all components.
    state_topic: state,
    availability: [{ topic: state, value_template: valueTemplate("availability") }],
    qos: 1,
    components: Object.fromEntries(
      components.map(([name, component]) => [name, { ...component, unique_id: `${deviceId}_${name}` }]),
    ),
  };
}

function fixedComponents(id: string, tree: TopicTree, isDirect: boolean): Record<string, Component> {
  const state = tree.build({ kind: "home-assistant", of: id, name: "state" });
  const reply = (name: string) => tree.build({ kind: "camera-reply", camera: id, command: name });
  const command = (name: string) => ({
    command_topic: tree.build({ kind: "camera-command", camera: id, command: name }),
    payload_press: "{}",
    ...(isDirect ? { command_template: commandTemplate(name) } : {}),
  });
  return {
    picture: {
      ...{ platform: "image", name: "Picture", content_type: "image/jpeg", ...ALWAYS },
      image_topic: tree.build({ kind: "home-assistant", of: id, name: "picture" }),
    },
    connected: binarySensor("Connection", "connected", { device_class: "connectivity", ...DIAGNOSTIC }),
    status: sensor("Status", "presence", {
      ...{ device_class: "enum", icon: "mdi:camera-wireless", ...ALWAYS },
      options: presenceSchema.shape.status.exclude(["unknown"]).options,
    }),
    last_capture: sensor("Last capture", "last_capture", { device_class: "timestamp", ...ALWAYS }),
    problem: binarySensor("Problem", "problem", {
      device_class: "problem",
      json_attributes_topic: state,
      json_attributes_template: "{{ value_json.problems | tojson }}",
    }),
    ...Object.fromEntries(
      CAMERA_ALERTS.map((name) => [
        `alert_${name.replaceAll("-", "_")}`,
        binarySensor(ALERT_NAMES[name], `alerts['${name}']`, { device_class: "problem", ...DIAGNOSTIC }),
      ]),
    ),
    capture_now: { platform: "button", name: "Capture now", icon: "mdi:camera", ...command("capture.now") },
    reboot: {
      ...{ platform: "button", name: "Reboot", device_class: "restart", entity_category: "config" },
      ...command("reboot"),
    },
    capture_now_result: resultSensor("Result of Capture now", reply("capture.now")),
    reboot_result: resultSensor("Result of Reboot", reply("reboot")),
  };
}

function optionalSensors(known: ReadonlySet<OptionalValue>): Record<string, Component> {
  const names = OPTIONAL_VALUES.filter((name) => known.has(name));
  return Object.fromEntries(
    names.map((value) => {
      const { name, ...more } = OPTIONAL_SENSORS[value];
      return [value, sensor(name, value, more)];
    }),
  );
}

function sensor(name: string, value: string, more: Options): Component {
  return { platform: "sensor", name, value_template: valueTemplate(value), ...more };
}

/** The status of the last reply, from the camera or the backend. The attributes have the error. */
function resultSensor(name: string, topic: string): Component {
  return {
    ...{ platform: "sensor", name, device_class: "enum", icon: "mdi:console", ...ALWAYS, ...DIAGNOSTIC },
    options: commandReplySchema.shape.status.exclude(["unknown"]).options,
    state_topic: topic,
    value_template: `{% set status = ${REPLY}.status | default('unknown') %}{{ 'None' if status == 'unknown' else status }}`,
    json_attributes_topic: topic,
    json_attributes_template: `{{ ${REPLY} | tojson }}`,
  };
}

function binarySensor(name: string, value: string, more: Options): Component {
  return { platform: "binary_sensor", name, value_template: valueTemplate(value), ...ALWAYS, ...more };
}

/** A whole command, by Home Assistant's clock, in place of the one that the server would make of `{}`. */
function commandTemplate(name: string): string {
  const time = (moment: string) => `{{ (${moment}).strftime('%Y-%m-%dT%H:%M:%SZ') }}`;
  return JSON.stringify({
    id: "home-assistant-{{ (utcnow().timestamp() * 1000) | int }}",
    ...{ name, args: {}, issued_by: "user:home-assistant", issued_at: time("utcnow()") },
    expires_at: time(`utcnow() + timedelta(seconds=${DEFAULT_COMMAND_EXPIRES_IN})`),
  });
}

/** Null becomes the text `None`, which means unknown to Home Assistant. */
function valueTemplate(value: string): string {
  return `{{ value_json.${value} }}`;
}

const { name, model, firmware } = cameraAboutSchema.shape;
const namesSchema = z.object({
  name: name.catch(undefined),
  model: model.optional().catch(undefined),
  firmware: firmware.optional().catch(undefined),
});

/** The names that the camera publishes, if they can be shown. */
function deviceNames(id: string, about: unknown) {
  const read = namesSchema.safeParse(about).data;
  const modelName = read?.model?.trim();
  const version = read?.firmware?.trim();
  return {
    name: read?.name?.trim() || id,
    ...(modelName ? { model: modelName } : {}),
    ...(version ? { sw_version: version } : {}),
  };
}
