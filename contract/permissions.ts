import {
  ALERTS,
  type CustomChannels,
  cameraOfChannel,
  cameraOfTopic,
  channelExists,
  DASHBOARD,
  isNarrowedChannel,
  JOBS,
  SYSTEM,
} from "./channels.ts";
import { JOB_REQUEST_EVENT } from "./event-names.ts";
import { discoveredCamera, discoveryFilter, homeAssistantFilter } from "./home-assistant.ts";
import { isId } from "./id-text.ts";
import { filterCovers, filterMatches, isBackendState, type Topic, type TopicTree } from "./topics.ts";

/**
 * The rights of a holder of permissions on channels and over HTTP. Everything is denied unless a permission grants it. An
 * unknown permission grants nothing.
 */
export interface ChannelGrants {
  readonly permissions: readonly string[];
  readonly admin: boolean;
  canReadChannel(channel: string): boolean;
  /** Whether the camera's events are sent on the channel `dashboard`. */
  seesCamera(camera: string): boolean;
  /** The cameras whose events are sent on `dashboard`, `alerts`, `jobs` and `system`. Undefined: all cameras. */
  readonly onlyCameras: ReadonlySet<string> | undefined;
  canCommand(camera: string): boolean;
  readonly canBroadcast: boolean;
}

/** The same rights, and those of an MQTT client on topics. */
export interface Grants extends ChannelGrants {
  canReadTopic(topic: string): boolean;
  /** Whether a message of the topic may name a camera outside {@link onlyCameras}, so that each message must be read. */
  mustReadMessage(topic: string): boolean;
  /** Whether every topic that the filter matches may be read, except commands, and announcements of other cameras. */
  canSubscribe(filter: string): boolean;
  canWriteTopic(topic: string): boolean;
}

/** The permissions that contain no id of a camera, device or service. */
export const PERMISSIONS: ReadonlySet<string> = new Set([
  ...["admin", "dashboard:read", "camera:read", "camera:control", "alerts:read", "jobs:read", "system:read"],
  "broadcast:write",
]);

/** Whether the permission is built in. An operator's channels (`CHANNELS_FILE`) may define further permissions. */
export function isKnownPermission(permission: string): boolean {
  const ids = [idsOf([permission], "camera", "read"), idsOf([permission], "camera", "control")];
  ids.push(idsOf([permission], "device"), idsOf([permission], "processing"));
  return PERMISSIONS.has(permission) || ids.some(({ size }) => size > 0);
}

/**
 * Narrows a set of permissions to the cameras that it names, even if it names none. The server adds it to the
 * permissions of an account that is limited to camera groups. Nobody grants it by name.
 */
export const CAMERAS_LIMITED = "cameras:limited";

export const ROLES = {
  /** Reads everything and changes nothing. */
  viewer: ["dashboard:read", "camera:read", "alerts:read", "jobs:read", "system:read"],
  admin: ["admin"],
} as const satisfies Record<string, readonly string[]>;

export type Role = keyof typeof ROLES;

interface GrantsOptions {
  tree: TopicTree;
  channels?: CustomChannels;
}

const NO_CHANNELS: CustomChannels = new Map();

/** Alone, without the rules of topics, it is what a page loads. */
export function channelGrantsOf(permissions: readonly string[], channels = NO_CHANNELS): ChannelGrants {
  const held = new Set(permissions);
  const admin = held.has("admin");
  const readable = idsOf(permissions, "camera", "read");
  const commandable = idsOf(permissions, "camera", "control");
  const dashboard = held.has("dashboard:read");
  const narrowed = !admin && !held.has("camera:read") && (readable.size > 0 || held.has(CAMERAS_LIMITED));

  const seesCamera = (camera: string): boolean =>
    admin || held.has("camera:read") || readable.has(camera) || (dashboard && !narrowed);

  const canReadChannel = (channel: string): boolean => {
    if (!channelExists(channel, channels)) return false;
    if (admin) return true;
    const camera = cameraOfChannel(channel);
    if (camera !== undefined) return held.has("camera:read") || readable.has(camera);
    const needed = isNarrowedChannel(channel) ? `${channel}:read` : channels.get(channel)?.permission;
    return needed !== undefined && held.has(needed);
  };

  const canCommand = (camera: string): boolean =>
    isId(camera) && (admin || held.has("camera:control") || commandable.has(camera));

  return {
    permissions: [...held],
    admin,
    canReadChannel,
    seesCamera,
    onlyCameras: narrowed ? readable : undefined,
    canCommand,
    canBroadcast: admin || held.has("broadcast:write"),
  };
}

export function grantsOf(permissions: readonly string[], { tree, channels = NO_CHANNELS }: GrantsOptions): Grants {
  const channelGrants = channelGrantsOf(permissions, channels);
  const { admin, canBroadcast, canCommand } = channelGrants;
  const narrowed = channelGrants.onlyCameras !== undefined;
  const held = new Set(permissions);
  const readable = idsOf(permissions, "camera", "read");
  const commandable = idsOf(permissions, "camera", "control");
  const devices = idsOf(permissions, "device");
  const services = idsOf(permissions, "processing");
  const dashboard = held.has("dashboard:read");

  const wideFilters = filtersOfAll();
  const filters = [...wideFilters, ...filtersOfCameras()];

  /** The topics that the permissions for single cameras allow: {@link readsCamera} says the same about one topic. */
  function filtersOfCameras(): string[] {
    if (admin) return [];
    const { root } = tree;
    const list: string[] = [];
    for (const camera of readable)
      list.push(
        ...[`${root}/cameras/${camera}/#`, `${root}/channels/camera:${camera}/#`, homeAssistantFilter(tree, camera)],
      );
    for (const camera of commandable) list.push(`${root}/cameras/${camera}/replies/+`);
    return list;
  }

  function filtersOfAll(): string[] {
    if (admin) return ["#", "$SYS/#"];
    const { root } = tree;
    const list: string[] = [];
    if (dashboard && !narrowed) list.push(`${root}/#`);
    if (dashboard) list.push(`${root}/processing/#`, `${root}/system/#`, `${root}/channels/${DASHBOARD}/#`);
    if (held.has("camera:read")) list.push(`${root}/cameras/#`, homeAssistantFilter(tree));
    if (held.has("camera:control")) list.push(`${root}/cameras/+/replies/+`);
    if (held.has("alerts:read")) {
      if (!narrowed) list.push(`${root}/cameras/+/alerts/#`);
      list.push(`${root}/processing/+/alerts/#`, `${root}/channels/${ALERTS}/#`);
    }
    if (held.has("jobs:read")) list.push(`${root}/processing/#`, `${root}/channels/${JOBS}/#`);
    if (held.has("system:read")) list.push(`${root}/system/#`, `${root}/channels/${SYSTEM}/#`);
    for (const [name, channel] of channels) {
      if (held.has(channel.permission)) list.push(...channel.filters, `${root}/channels/${name}/#`);
    }
    for (const device of devices) list.push(`${root}/cameras/${device}/commands/+`);
    if (services.size > 0) list.push(`${root}/channels/${JOBS}/events/${JOB_REQUEST_EVENT}`);
    return list;
  }

  const canReadTopic = (topic: string): boolean => {
    if (admin) return true;
    const parsed = tree.parse(topic);
    // Only the camera itself receives its commands, even if another client's filter matches.
    if (parsed?.kind === "camera-command") return devices.has(parsed.camera);
    if (parsed === undefined && tree.owns(topic)) return false;
    if (parsed !== undefined && readsCamera(parsed)) return true;
    const discovered = discoveredCamera(tree, topic);
    // The announcement of a camera names the topics on which Home Assistant then reads about the camera.
    if (discovered !== undefined)
      return canReadTopic(tree.build({ kind: "home-assistant", of: discovered, name: "state" }));
    return wideFilters.some((filter) => filterMatches(filter, topic));
  };

  /** Runs for each delivery: a client may read a thousand cameras, and comparing three filters of each takes 1 ms. */
  function readsCamera(topic: Topic): boolean {
    if (topic.kind === "home-assistant") return readable.has(topic.of);
    if (topic.kind === "camera-reply" && commandable.has(topic.camera)) return true;
    const camera = topic.kind === "channel-event" ? cameraOfChannel(topic.channel) : cameraOfTopic(topic);
    return camera !== undefined && readable.has(camera);
  }

  const mustReadMessage = (topic: string): boolean => {
    if (!narrowed) return false;
    const parsed = tree.parse(topic);
    if (parsed === undefined) return false;
    return "service" in parsed || (parsed.kind === "channel-event" && isNarrowedChannel(parsed.channel));
  };

  const canSubscribe = (filter: string): boolean =>
    filters.some((wide) => filterCovers(wide, filter)) || canDiscover(filter);

  /** Whether the filter is for Home Assistant's discovery. Each delivery is checked by {@link canReadTopic}. */
  const canDiscover = (filter: string): boolean => {
    const wide = discoveryFilter(tree);
    const readsCameras = dashboard || held.has("camera:read") || readable.size > 0;
    return wide !== undefined && readsCameras && filterCovers(wide, filter);
  };

  const canWriteTopic = (topic: string): boolean => {
    const parsed = tree.parse(topic);
    if (parsed === undefined) return admin && !tree.owns(topic) && !topic.startsWith("$");
    return admin || canWrite(parsed);
  };

  function canWrite(topic: Topic): boolean {
    if (topic.kind === "camera-command") return canCommand(topic.camera);
    if (topic.kind === "camera-state" && isBackendState(topic.name)) return false;
    if (topic.kind === "camera-alert-note" || topic.kind === "service-alert-note") return false;
    const camera = cameraOfTopic(topic);
    if (camera !== undefined) return devices.has(camera);
    if ("service" in topic) return services.has(topic.service);
    if (topic.kind === "channel-event") return canBroadcast;
    return false;
  }

  return { ...channelGrants, canReadTopic, mustReadMessage, canSubscribe, canWriteTopic };
}

/** The ids in permissions of the form `prefix:{id}` or `prefix:{id}:suffix`. */
function idsOf(permissions: readonly string[], prefix: string, suffix?: string): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const permission of permissions) {
    const [first, id, last, ...rest] = permission.split(":");
    if (first === prefix && id !== undefined && last === suffix && rest.length === 0 && isId(id)) ids.add(id);
  }
  return ids;
}
