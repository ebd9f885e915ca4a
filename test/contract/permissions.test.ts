import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CustomChannels, channelsOf } from "../../contract/channels.ts";
import { customChannelsSchema } from "../../contract/custom-channels.ts";
import { CAMERAS_LIMITED, grantsOf, isKnownPermission } from "../../contract/permissions.ts";
import { filterMatches, topicTree } from "../../contract/topics.ts";
import { aHostileName, anId, aTopic } from "./arbitraries.ts";

const tree = topicTree();
const R = "skylapse/v1";
const none: CustomChannels = new Map();
const grants = (...permissions: string[]) => grantsOf(permissions, { tree });

const aPermission = fc.oneof(
  fc.constantFrom("dashboard:read", "camera:read", "camera:control", "alerts:read", "jobs:read", "system:read"),
  anId.map((id) => `camera:${id}:read`),
  anId.map((id) => `camera:${id}:control`),
  anId.map((id) => `device:${id}`),
  anId.map((id) => `processing:${id}`),
  fc.constant("broadcast:write"),
);

describe("without a permission", () => {
  it("a client may not read, subscribe, write or command", () => {
    fc.assert(
      fc.property(aTopic, (topic) => {
        const nothing = grants();
        const name = tree.build(topic);
        expect(nothing.canReadTopic(name)).toBe(false);
        expect(nothing.canSubscribe(name)).toBe(false);
        expect(nothing.canWriteTopic(name)).toBe(false);
        expect(channelsOf(topic, name, none).some((channel) => nothing.canReadChannel(channel))).toBe(false);
        expect(nothing.canCommand("north")).toBe(false);
      }),
    );
  });

  it("an unknown permission grants nothing", () => {
    fc.assert(
      fc.property(
        fc.oneof(aHostileName, fc.constantFrom("camera", "camera::read", "device:", "admin:", "ADMIN")),
        aTopic,
        (name, topic) => {
          const unknown = grants(
            name,
            `device:${name}`,
            `camera:${name}:read`,
            `camera:${name}:control`,
            `processing:${name}`,
          );
          fc.pre(name !== "admin");
          expect(unknown.canReadTopic(tree.build(topic))).toBe(false);
          expect(unknown.canWriteTopic(tree.build(topic))).toBe(false);
          expect(unknown.canSubscribe(`${R}/#`)).toBe(false);
        },
      ),
    );
  });
});

describe("permissions other than admin", () => {
  it("never allow reading the commands of another camera", () => {
    fc.assert(
      fc.property(fc.array(aPermission, { maxLength: 6 }), anId, (permissions, camera) => {
        fc.pre(!permissions.includes(`device:${camera}`));
        const topic = tree.build({ kind: "camera-command", camera, command: "capture.now" });
        expect(grants(...permissions).canReadTopic(topic)).toBe(false);
      }),
    );
  });

  it("never allow access to $SYS or a topic outside the root", () => {
    fc.assert(
      fc.property(fc.array(aPermission, { maxLength: 6 }), (permissions) => {
        const held = grants(...permissions);
        for (const topic of ["$SYS/b1/heartbeat", "other/topic", "skylapse/v2/cameras/north/link", R]) {
          expect(held.canReadTopic(topic)).toBe(false);
          expect(held.canWriteTopic(topic)).toBe(false);
        }
        expect(held.canSubscribe("#")).toBe(false);
        expect(held.canSubscribe("$SYS/#")).toBe(false);
      }),
    );
  });

  it("allow a filter only if they allow all matching topics, except commands", () => {
    const wanted = fc.constantFrom(
      `${R}/#`,
      `${R}/cameras/#`,
      `${R}/cameras/+/#`,
      `${R}/cameras/north/#`,
      `${R}/cameras/+/alerts/#`,
      `${R}/cameras/+/alerts/+`,
      `${R}/processing/#`,
      `${R}/system/+`,
      `${R}/cameras/north/commands/+`,
    );
    fc.assert(
      fc.property(fc.array(aPermission, { maxLength: 4 }), wanted, aTopic, (permissions, filter, topic) => {
        const held = grants("camera:north:read", ...permissions);
        const name = tree.build(topic);
        fc.pre(topic.kind !== "camera-command" && filterMatches(filter, name) && held.canSubscribe(filter));
        expect(held.canReadTopic(name)).toBe(true);
      }),
      // Random topics rarely match the filter.
      { maxSkipsPerRun: 1000 },
    );
  });
});

describe("dashboard:read", () => {
  it("allows reading every camera on the dashboard, and all topics except commands", () => {
    const reader = grants("dashboard:read");
    expect(reader.canReadChannel("dashboard")).toBe(true);
    expect(reader.seesCamera("north")).toBe(true);
    expect(reader.onlyCameras).toBeUndefined();
    expect(reader.canSubscribe(`${R}/#`)).toBe(true);
    expect(reader.canReadTopic(`${R}/cameras/north/state/power`)).toBe(true);
    expect(reader.canReadTopic(`${R}/cameras/north/commands/reboot`)).toBe(false);
  });

  it("does not grant the other channels", () => {
    for (const channel of ["camera:north", "alerts", "jobs", "system"]) {
      expect(grants("dashboard:read").canReadChannel(channel)).toBe(false);
    }
  });

  it("is limited to certain cameras if the client also has permissions for these cameras", () => {
    const narrowed = grants("dashboard:read", "camera:north:read");
    expect(narrowed.onlyCameras).toEqual(new Set(["north"]));
    expect(narrowed.seesCamera("north")).toBe(true);
    expect(narrowed.seesCamera("south")).toBe(false);
    expect(narrowed.canSubscribe(`${R}/#`)).toBe(false);
    expect(narrowed.canSubscribe(`${R}/cameras/north/#`)).toBe(true);
    expect(narrowed.canReadTopic(`${R}/cameras/south/link`)).toBe(false);
    expect(narrowed.canReadTopic(`${R}/processing/worker/link`)).toBe(true);
    expect(narrowed.canReadTopic(`${R}/channels/camera:south/events/x`)).toBe(false);
  });

  it("is limited to no camera by cameras:limited, if the client has no permission for a camera", () => {
    const limited = grants("dashboard:read", "alerts:read", CAMERAS_LIMITED);
    expect(limited.seesCamera("north")).toBe(false);
    expect(limited.onlyCameras).toEqual(new Set());
    expect(limited.canReadTopic(`${R}/cameras/north/state/storage`)).toBe(false);
    expect(limited.canSubscribe(`${R}/cameras/+/alerts/#`)).toBe(false);
    expect(limited.canReadTopic(`${R}/system/status`)).toBe(true);
    expect(isKnownPermission(CAMERAS_LIMITED)).toBe(false);
  });

  it("is not limited if the client may read all cameras", () => {
    expect(grants("dashboard:read", "camera:read", "camera:north:read").onlyCameras).toBeUndefined();
  });
});

describe("a camera's permissions", () => {
  it("camera:{id}:read grants the channel and topics of this camera only", () => {
    const reader = grants("camera:north:read");
    expect(reader.canReadChannel("camera:north")).toBe(true);
    expect(reader.canReadChannel("camera:south")).toBe(false);
    expect(reader.canReadChannel("dashboard")).toBe(false);
    expect(reader.canSubscribe(`${R}/cameras/+/link`)).toBe(false);
  });

  it("camera:{id}:control allows commanding the camera and reading its replies", () => {
    const controller = grants("camera:north:control");
    expect(controller.canCommand("north")).toBe(true);
    expect(controller.canCommand("south")).toBe(false);
    expect(controller.canWriteTopic(`${R}/cameras/north/commands/reboot`)).toBe(true);
    expect(controller.canWriteTopic(`${R}/cameras/north/link`)).toBe(false);
    expect(controller.canReadTopic(`${R}/cameras/north/replies/reboot`)).toBe(true);
    expect(grants("camera:control").canCommand("__proto__")).toBe(false);
  });

  it("device:{id} allows writing below its prefix, except commands and presence, and reading only its commands", () => {
    const device = grants("device:north");
    expect(device.canWriteTopic(`${R}/cameras/north/link`)).toBe(true);
    expect(device.canWriteTopic(`${R}/cameras/north/debug/gps`)).toBe(true);
    expect(device.canWriteTopic(`${R}/cameras/north/commands/reboot`)).toBe(false);
    expect(device.canWriteTopic(`${R}/cameras/north/state/presence`)).toBe(false);
    expect(device.canWriteTopic(`${R}/cameras/north/alerts/disk`)).toBe(true);
    for (const note of ["acknowledgement", "mute"])
      expect(device.canWriteTopic(`${R}/cameras/north/alerts/disk/${note}`)).toBe(false);
    expect(device.canWriteTopic(`${R}/cameras/south/link`)).toBe(false);
    expect(device.canWriteTopic(`${R}/cameras/north-2/link`)).toBe(false);
    expect(device.canReadTopic(`${R}/cameras/north/commands/reboot`)).toBe(true);
    expect(device.canSubscribe(`${R}/cameras/north/commands/+`)).toBe(true);
    expect(device.canSubscribe(`${R}/cameras/+/commands/+`)).toBe(false);
    expect(device.canReadTopic(`${R}/cameras/north/link`)).toBe(false);
  });
});

describe("the other permissions", () => {
  it.each([
    ["alerts:read", "alerts", `${R}/cameras/north/alerts/disk`],
    ["jobs:read", "jobs", `${R}/processing/worker/jobs/j1`],
    ["system:read", "system", `${R}/system/status`],
  ])("%s allows reading the channel %s and the topic %s", (permission, channel, topic) => {
    expect(grants(permission).canReadChannel(channel)).toBe(true);
    expect(grants(permission).canReadTopic(topic)).toBe(true);
    expect(grants(permission).canReadTopic(`${R}/cameras/north/link`)).toBe(false);
    expect(grants(permission).canWriteTopic(topic)).toBe(false);
  });

  it("processing:{id} allows writing below its own prefix", () => {
    expect(grants("processing:worker").canWriteTopic(`${R}/processing/worker/jobs/j1`)).toBe(true);
    expect(grants("processing:worker").canWriteTopic(`${R}/processing/other/jobs/j1`)).toBe(false);
  });

  it("processing:{id} allows reading the requests for jobs, and nothing else", () => {
    const service = grants("processing:worker");
    expect(service.canSubscribe(`${R}/channels/jobs/events/job.requested`)).toBe(true);
    expect(service.canReadTopic(`${R}/channels/jobs/events/job.requested`)).toBe(true);
    expect(service.canWriteTopic(`${R}/channels/jobs/events/job.requested`)).toBe(false);
    for (const topic of [
      `${R}/channels/jobs/events/other`,
      `${R}/processing/worker/jobs/j1`,
      `${R}/cameras/north/link`,
    ])
      expect(service.canReadTopic(topic)).toBe(false);
  });

  it("broadcast:write allows publishing to channels", () => {
    expect(grants("broadcast:write").canBroadcast).toBe(true);
    expect(grants("broadcast:write").canWriteTopic(`${R}/channels/dashboard/events/system.status`)).toBe(true);
  });

  it("admin allows everything, except writing $SYS or a malformed topic below the root", () => {
    const admin = grants("admin");
    fc.assert(
      fc.property(aTopic, (topic) => {
        expect(admin.canReadTopic(tree.build(topic))).toBe(true);
        expect(admin.canWriteTopic(tree.build(topic))).toBe(true);
      }),
    );
    expect(admin.canSubscribe("#")).toBe(true);
    expect(admin.canSubscribe("$SYS/#")).toBe(true);
    expect(admin.canWriteTopic("other/topic")).toBe(true);
    expect(admin.canWriteTopic("$SYS/b1/new/clients")).toBe(false);
    expect(admin.canWriteTopic(`${R}/nonsense`)).toBe(false);
  });
});

describe("topics, channels and permissions agree", () => {
  it("a client that may read a camera's channel may read its topics", () => {
    fc.assert(
      fc.property(aTopic, anId, (topic, id) => {
        const name = tree.build(topic);
        const reader = grants(`camera:${id}:read`);
        const carried = channelsOf(topic, name, none).filter((channel) => reader.canReadChannel(channel));
        if (carried.length > 0) expect(reader.canReadTopic(name)).toBe(true);
      }),
    );
  });

  it("a client that may read alerts, jobs, system or the dashboard may read their topics", () => {
    fc.assert(
      fc.property(aTopic, fc.constantFrom("alerts", "jobs", "system", "dashboard"), (topic, channel) => {
        const name = tree.build(topic);
        fc.pre(channelsOf(topic, name, none).includes(channel));
        expect(grants(`${channel}:read`).canReadTopic(name)).toBe(true);
      }),
    );
  });

  it("a custom channel carries the topics of its filters, and requires its permission", () => {
    const channels: CustomChannels = new Map([
      ["valley", { filters: [`${R}/cameras/valley-1/#`], permission: "valley:read" }],
    ]);
    const topic = { kind: "camera-event", camera: "valley-1", event: "capture.completed" } as const;
    expect(channelsOf(topic, tree.build(topic), channels)).toEqual(["camera:valley-1", "dashboard", "valley"]);
    const reader = grantsOf(["valley:read"], { tree, channels });
    expect(reader.canReadChannel("valley")).toBe(true);
    expect(reader.canReadTopic(tree.build(topic))).toBe(true);
    expect(grantsOf(["dashboard:read"], { tree, channels }).canReadChannel("valley")).toBe(false);
  });

  it("a custom channel carries no command, reply or raw link, however wide its filter", () => {
    const channels: CustomChannels = new Map([["all", { filters: [`${R}/#`], permission: "all:read" }]]);
    for (const topic of [
      { kind: "camera-command", camera: "north", command: "reboot" },
      { kind: "camera-reply", camera: "north", command: "reboot" },
      { kind: "camera-link", camera: "north" },
    ] as const) {
      expect(channelsOf(topic, tree.build(topic), channels)).toEqual([]);
    }
  });

  it.each([
    ["a built-in name", { dashboard: { filters: ["a"], permission: "a:read" } }],
    ["a camera's name", { "camera:north": { filters: ["a"], permission: "a:read" } }],
    ["a bad filter", { valley: { filters: ["a/#/b"], permission: "a:read" } }],
    ["no filter", { valley: { filters: [], permission: "a:read" } }],
    ["a bad permission", { valley: { filters: ["a"], permission: "admin" } }],
    ["an unknown field", { valley: { filters: ["a"], permission: "a:read", extra: 1 } }],
  ])("a channel with %s is rejected", (_, file) => {
    expect(customChannelsSchema.safeParse(file).success).toBe(false);
  });
});

describe("announcements to Home Assistant", () => {
  const announced = topicTree(R, "homeassistant");
  const of = (camera: string) => `homeassistant/device/skylapse_v1_${camera}/config`;
  const FILTERS = ["homeassistant/#", "homeassistant/+/+/config", "homeassistant/device/+/config", of("north")];

  it.each([
    ["dashboard:read", true, true],
    ["camera:read", true, true],
    ["camera:north:read", true, false],
    ["alerts:read", false, false],
    ["camera:control", false, false],
    ["device:north", false, false],
  ])("are read with %s as the camera is read", (permission, north, south) => {
    const reader = grantsOf([permission], { tree: announced });
    for (const filter of FILTERS) expect(reader.canSubscribe(filter)).toBe(north || south);
    expect([reader.canReadTopic(of("north")), reader.canReadTopic(of("south"))]).toEqual([north, south]);
    for (const camera of ["north", "south"]) {
      for (const name of ["state", "picture"] as const) {
        const topic = announced.build({ kind: "home-assistant", of: camera, name });
        expect(reader.canReadTopic(topic)).toBe(camera === "north" ? north : south);
        expect(reader.canSubscribe(topic)).toBe(camera === "north" ? north : south);
        expect(reader.canWriteTopic(topic)).toBe(false);
      }
    }
  });

  it("are written by no client, and are the only readable topics below the prefix", () => {
    const reader = grantsOf(["dashboard:read", "camera:control"], { tree: announced });
    for (const topic of [of("north"), "homeassistant/status", "homeassistant/sensor/a/config"]) {
      expect(reader.canWriteTopic(topic)).toBe(false);
      expect(reader.canReadTopic(topic)).toBe(topic === of("north"));
    }
  });

  it("cannot be subscribed to while nothing is announced", () => {
    for (const filter of FILTERS) expect(grants("dashboard:read", "camera:read").canSubscribe(filter)).toBe(false);
  });
});
