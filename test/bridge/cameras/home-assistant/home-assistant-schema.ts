import { z } from "zod";
import { filterProblem, topicProblem } from "../../../../contract/topics.ts";

/**
 * The rules by which Home Assistant accepts an announcement and its messages, written by reading its source
 * (homeassistant/components/mqtt: `discovery.py`, `schemas.py`, `config.py`, `entity.py`, `image.py`, `sensor.py`,
 * `binary_sensor.py`, `button.py`, and the device classes of `sensor/const.py`, `binary_sensor/__init__.py`
 * and `button/__init__.py`). Home Assistant ignores unknown members; here they are errors, because they have no effect.
 */

/** `TOPIC_MATCHER` of `discovery.py`, for devices. */
const DEVICE_TOPIC = /^device\/[a-zA-Z0-9_-]+\/config$/;

const text = z.string();
const withoutTags = (text: string) => text.replaceAll(/\{\{.*?\}\}|\{%.*?%\}/g, "");
const template = z
  .string()
  .refine((text) => withoutTags(text) !== text && !/\{[{%#]/.test(withoutTags(text)), "no template");
const subscribed = z.string().refine((topic) => filterProblem(topic) === undefined, "must be a topic filter");
const publishable = z.string().refine((topic) => topicProblem(topic) === undefined, "must be a topic");
const icon = z.string().regex(/^[a-z-]+:[a-z0-9-]+$/, "must be an icon such as mdi:camera");
const qos = z.union([z.literal(0), z.literal(1), z.literal(2)]);

/** `MQTT_AVAILABILITY_SCHEMA`: `availability` and `availability_topic` exclude each other. This project uses the list. */
const availability = z.array(
  z.strictObject({
    topic: subscribed,
    payload_available: text.default("online"),
    payload_not_available: text.default("offline"),
    value_template: template.optional(),
  }),
);

/** `MQTT_ENTITY_COMMON_SCHEMA`. `DEVICE_DISCOVERY_SCHEMA` demands a unique id of each component. */
const common = {
  name: text.nullable(),
  unique_id: text,
  availability: availability.optional(),
  availability_mode: z.enum(["all", "any", "latest"]).default("latest"),
  enabled_by_default: z.boolean().optional(),
  icon: icon.optional(),
  json_attributes_topic: subscribed.optional(),
  json_attributes_template: template.optional(),
  qos: qos.optional(),
};
/** An entity that reports a value cannot be a setting (`add_entities` refuses it). */
const reported = { ...common, entity_category: z.literal("diagnostic").optional() };

const image = z
  .strictObject({
    ...{ platform: z.literal("image"), ...reported, content_type: text.optional() },
    ...{
      image_topic: subscribed.optional(),
      url_topic: subscribed.optional(),
      image_encoding: z.literal("b64").optional(),
    },
  })
  .refine((it) => (it.image_topic === undefined) !== (it.url_topic === undefined), "needs one of two topics")
  .refine((it) => it.content_type === undefined || it.url_topic === undefined, "content_type is for image_topic only");

const BINARY_SENSOR_CLASSES = [
  ...(["battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door"] as const),
  ...(["gas", "heat", "light", "lock", "moisture", "motion", "moving", "occupancy", "opening", "plug"] as const),
  ...(["power", "presence", "problem", "running", "safety", "smoke", "sound", "tamper", "update"] as const),
  ...(["vibration", "window"] as const),
] as const;

const binarySensor = z.strictObject({
  ...{
    platform: z.literal("binary_sensor"),
    ...reported,
    state_topic: subscribed,
    value_template: template.optional(),
  },
  ...{ payload_on: text.default("ON"), payload_off: text.default("OFF") },
  device_class: z.enum(BINARY_SENSOR_CLASSES).optional(),
});

/** The classes of this project: the allowed units and state classes (`DEVICE_CLASS_UNITS`, `DEVICE_CLASS_STATE_CLASSES`). */
const SENSOR_CLASSES: Readonly<Record<string, { units: readonly string[]; states: readonly string[] }>> = {
  battery: { units: ["%"], states: ["measurement"] },
  data_size: {
    units: ["bit", "kbit", "Mbit", "Gbit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"],
    states: ["measurement", "total", "total_increasing"],
  },
  duration: { units: ["d", "h", "min", "s", "ms", "μs"], states: ["measurement", "total", "total_increasing"] },
  enum: { units: [], states: [] },
  temperature: { units: ["°C", "°F", "K"], states: ["measurement"] },
  timestamp: { units: [], states: [] },
};
const NUMBERS: ReadonlySet<string | undefined> = new Set(["battery", "data_size", "duration", "temperature"]);

const sensor = z
  .strictObject({
    ...{ platform: z.literal("sensor"), ...reported, state_topic: subscribed, value_template: template.optional() },
    ...{ device_class: text.optional(), options: z.array(text).min(1).optional() },
    ...{ unit_of_measurement: text.optional(), state_class: text.optional() },
    suggested_display_precision: z.number().int().nonnegative().optional(),
  })
  .superRefine(({ device_class, unit_of_measurement: unit, state_class, options }, context) => {
    const problem = (message: string) => context.addIssue({ code: "custom", message });
    const known = device_class === undefined ? undefined : SENSOR_CLASSES[device_class];
    if (device_class !== undefined && known === undefined) problem(`unknown device class ${device_class}`);
    if (known !== undefined && NUMBERS.has(device_class) !== (unit !== undefined)) problem("has a unit, or needs one");
    if (known !== undefined && unit !== undefined && !known.units.includes(unit)) problem(`wrong unit ${unit}`);
    if (known !== undefined && state_class !== undefined && !known.states.includes(state_class)) problem("state class");
    if ((options !== undefined) !== (device_class === "enum")) problem("options and the class enum need each other");
  });

const button = z.strictObject({
  ...{ platform: z.literal("button"), ...common, command_topic: publishable, command_template: template.optional() },
  ...{ payload_press: text.default("PRESS"), retain: z.boolean().default(false) },
  entity_category: z.enum(["config", "diagnostic"]).optional(),
  device_class: z.enum(["identify", "restart", "update"]).optional(),
});

const component = z.discriminatedUnion("platform", [image, binarySensor, sensor, button]);
export type HomeAssistantComponent = z.infer<typeof component>;

/** `DEVICE_DISCOVERY_SCHEMA`, before the components get the options that they share. */
const device = z.strictObject({
  device: z.strictObject({
    identifiers: z.array(text).min(1),
    ...{ manufacturer: text.optional(), model: text.optional(), name: text.optional(), sw_version: text.optional() },
    ...{ configuration_url: z.url().optional(), serial_number: text.optional(), suggested_area: text.optional() },
  }),
  origin: z.strictObject({ name: text, sw_version: text.optional(), support_url: z.url().optional() }),
  ...{ availability: availability.optional(), state_topic: subscribed.optional(), qos: qos.optional() },
  components: z.record(z.string().regex(/^[a-z0-9_]+$/), z.record(z.string(), z.unknown())),
});

/** `SHARED_OPTIONS` of `schemas.py`, as far as {@link device} has them, and the platforms that know the option. */
const SHARED = { availability: undefined, qos: undefined, state_topic: ["sensor", "binary_sensor"] };

/** The components that Home Assistant creates. @throws what Home Assistant logs as an error or ignores */
export function discovered(prefix: string, topic: string, payload: string): Map<string, HomeAssistantComponent> {
  if (!topic.startsWith(`${prefix}/`) || !DEVICE_TOPIC.test(topic.slice(prefix.length + 1)))
    throw new Error(`${topic} is no discovery topic`);
  const { components, ...rest } = device.parse(JSON.parse(payload));
  const shared: Record<string, unknown> = rest;
  const found = Object.entries(components).map(([name, own]) => {
    const inherited = Object.entries(SHARED).filter(([, of]) => of?.includes(String(own.platform)) ?? true);
    const options = Object.fromEntries(inherited.map(([option]) => [option, shared[option]]));
    return [name, component.parse({ ...options, ...own })] as const;
  });
  const ids = found.map(([, { unique_id }]) => unique_id);
  if (new Set(ids).size !== ids.length) throw new Error("two components have one unique id");
  return new Map(found);
}

/** What a template of the form `{{ value_json.a['b'] }}` makes of a payload: null becomes the text `None`. */
export function rendered(valueTemplate: string, payload: string): string {
  const path = /^\{\{ value_json((?:\.\w+|\['[\w-]+'\])+) \}\}$/.exec(valueTemplate)?.[1];
  if (path === undefined) throw new Error(`${valueTemplate} is no plain path`);
  let value: unknown = JSON.parse(payload);
  for (const [, name = "", quoted = ""] of path.matchAll(/\.(\w+)|\['([\w-]+)'\]/g))
    value = z.record(z.string(), z.unknown()).parse(value)[name || quoted];
  if (value === undefined) throw new Error(`the payload has no member ${path}`);
  return value === null ? "None" : String(value);
}

/** The state that an entity shows after a message; undefined for unknown. @throws what Home Assistant logs as an error */
export function shown(entity: HomeAssistantComponent, payload: string): string | undefined {
  if (entity.platform !== "sensor" && entity.platform !== "binary_sensor") throw new Error("the entity has no state");
  const value = entity.value_template === undefined ? payload : rendered(entity.value_template, payload);
  if (value === "None") return undefined;
  if (entity.platform === "binary_sensor") return z.enum(["ON", "OFF"]).parse(value);
  if (entity.device_class === "timestamp") return z.iso.datetime({ offset: true }).parse(value);
  if (entity.options !== undefined) return z.enum(entity.options).parse(value);
  if (NUMBERS.has(entity.device_class) || entity.state_class !== undefined) z.coerce.number().parse(value);
  return value;
}

/** Whether an entity can be used after a message of its availability. Without an availability, it always can. */
export function isAvailable({ availability: of = [] }: HomeAssistantComponent, payload: string): boolean {
  return of.every((one) => {
    const value = one.value_template === undefined ? payload : rendered(one.value_template, payload);
    return z.enum([one.payload_available, one.payload_not_available]).parse(value) === one.payload_available;
  });
}
