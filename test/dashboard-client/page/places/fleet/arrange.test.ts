import { describe, expect, it } from "vitest";
import { arrange } from "../../../../../dashboard-client/page/places/fleet/arrange.ts";
import {
  addressOf,
  type FleetQuery,
  readQuery,
} from "../../../../../dashboard-client/page/places/fleet/fleet-query.ts";
import { idFor } from "../../../../../dashboard-client/page/places/fleet/groups-api.ts";
import type { AlertState } from "../../../../../dashboard-client/state/alert-state.ts";
import type { CameraState } from "../../../../../dashboard-client/state/camera-state.ts";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const at = "2026-03-01T11:00:00Z";
type Status = NonNullable<CameraState["presence"]>["value"]["status"];

function camera(id: string, status: Status, more: Partial<CameraState> = {}): CameraState {
  return { id, presence: { value: { status, since: at }, at }, ...more };
}
const battery = (battery_percent: number) => ({
  power: { value: { source: "battery" as const, battery_percent }, at },
});
const storage = (free_bytes: number) => ({ storage: { value: { total_bytes: 100, free_bytes }, at } });
const record = (name: string | undefined, tags: string[], groups: { id: string; name: string }[] = []) => ({
  record: { value: { tags, groups, ...(name === undefined ? {} : { name }) }, at },
});
const gap = (filled = false) => ({
  gaps: { value: { gaps: [{ reason: "missing" as const, count: 2, from: at, to: at, filled }] }, at },
});

function shown(cameras: readonly CameraState[], search = "", alerts: readonly AlertState[] = []) {
  const data = {
    cameras: new Map(cameras.map((one) => [one.id, one])),
    alerts: new Map(alerts.map((alert) => [`${alert.camera}/${alert.alert}`, alert])),
  };
  return arrange(data, readQuery(search), NOW);
}

describe("the order of cameras", () => {
  it("is worst first, then by name, where 10 comes after 9", () => {
    const cameras = [
      camera("online", "online"),
      camera("sleeping", "sleeping"),
      camera("never", "never_seen"),
      camera("unknown", "unknown"),
      camera("stale", "stale"),
      camera("overslept", "overslept"),
      camera("off-10", "offline"),
      camera("off-9", "offline"),
    ];
    expect(shown(cameras).ids).toEqual([
      "off-9",
      "off-10",
      "overslept",
      "stale",
      "unknown",
      "never",
      "sleeping",
      "online",
    ]);
  });

  it("puts a camera with lost events or a warning before cameras that work", () => {
    const cameras = [
      camera("a", "online"),
      camera("filled", "online", gap(true)),
      camera("gap", "online", gap()),
      camera("hot", "sleeping"),
    ];
    const hot: AlertState = { alert: "disk", severity: "warning", message: "80 %", camera: "hot", since: at };
    expect(shown(cameras, "", [hot]).ids).toEqual(["gap", "hot", "a", "filled"]);
    expect(shown(cameras, "", [{ ...hot, severity: "info" }]).ids).toEqual(["gap", "hot", "a", "filled"]);
  });

  it("is by battery, storage or the last picture, and puts cameras without the value last", () => {
    const cameras = [
      camera("none", "online"),
      camera("full", "online", {
        ...battery(100),
        ...storage(5),
        pictureTaken: { etag: "x", at: "2026-03-01T11:59:00Z" },
      }),
      camera("low", "online", {
        ...battery(5),
        ...storage(90),
        pictureTaken: { etag: "x", at: "2026-03-01T09:00:00Z" },
      }),
    ];
    expect(shown(cameras, "sort=battery").ids).toEqual(["low", "full", "none"]);
    expect(shown(cameras, "sort=storage").ids).toEqual(["full", "low", "none"]);
    expect(shown(cameras, "sort=picture").ids).toEqual(["low", "full", "none"]);
  });
});

describe("the filters", () => {
  const cameras = [
    camera("a", "online", record("North face", ["winter"], [{ id: "alps", name: "The Alps" }])),
    camera("b", "overslept", record(undefined, ["winter", "4k"])),
    camera("c", "offline"),
  ];

  it("find words in the name, the id, the tags and the groups", () => {
    expect(shown(cameras, "q=FACE").ids).toEqual(["a"]);
    expect(shown(cameras, "q=alps winter").ids).toEqual(["a"]);
    expect(shown(cameras, "q=4k").ids).toEqual(["b"]);
    expect(shown(cameras, "q=nothing").ids).toEqual([]);
  });

  it("select by state, group and tag together, and count all cameras", () => {
    expect(shown(cameras, "state=offline").ids).toEqual(["c", "b"]);
    expect(shown(cameras, "state=offline&tag=winter").ids).toEqual(["b"]);
    const { ids, total, counts, groups, tags } = shown(cameras, "group=alps");
    expect([ids, total]).toEqual([["a"], 3]);
    expect(counts).toMatchObject({ attention: 2, offline: 2, online: 1 });
    expect(groups).toEqual([{ id: "alps", name: "The Alps" }]);
    expect(tags).toEqual(["4k", "winter"]);
  });
});

describe("the address", () => {
  it("has every part of a query that is not the default, and gives the query back", () => {
    const query: FleetQuery = { q: "a b", state: "gap", group: "alps", tag: "4k", sort: "battery", view: "list" };
    expect(addressOf(query)).toBe("/?q=a+b&state=gap&group=alps&tag=4k&sort=battery&view=list");
    expect(readQuery(addressOf(query).slice(2))).toEqual(query);
    expect(addressOf(readQuery(""))).toBe("/");
  });

  it("may name a state or an order that this version does not know", () => {
    expect(readQuery("state=on-fire&sort=color&view=map")).toEqual(readQuery(""));
  });
});

it.each([
  ["Nordwand, oben", "nordwand-oben"],
  ["Süd-Hang 2", "sud-hang-2"],
  ["Große Scheidegg", "grosse-scheidegg"],
  ["北", ""],
])("the id for a group named %s is %s", (name, id) => {
  expect(idFor(name)).toBe(id);
});
