import { describe, expect, it } from "vitest";
import { PARTS, type SourceFile, sourceFiles } from "./source-files.ts";

/**
 * The rooms of a part, in order. A room may import only later rooms of the list. `.` means the files
 * directly in the part's folder. `docs/architecture.md` describes each room.
 */
const FLOORS: Record<string, readonly string[]> = {
  bridge: [
    ...[".", "http", "websocket", "stats", "cameras", "commands", "delivery"],
    ...["previews", "auth", "clock", "broker-link", "journal", "cluster"],
  ],
  broker: [".", "mqtt5", "listeners", "sessions", "access", "cluster", "aedes"],
  device: [".", "status", "simulator", "commands", "capture", "link", "outbox", "cameras", "host"],
  "dashboard-client": ["page", "react", ".", "state", "shared", "client"],
};

/** Rooms with a door: files outside the room may import only the listed files of the room. */
const DOORS: Record<string, readonly string[]> = {
  "bridge/cameras": [
    "watchers.ts",
    "presence.ts",
    "camera-links.ts",
    "camera-records.ts",
    "seen-cameras.ts",
    "sender-clocks.ts",
    "config.ts",
    "alerts/config.ts",
    "desired/desired.ts",
    "desired/desired-store.ts",
    "home-assistant/config.ts",
  ],
  "bridge/cluster": ["cluster.ts", "singleton.ts", "ask.ts", "local/local.ts", "redis/redis.ts"],
  "bridge/cluster/local": ["local.ts"],
  "bridge/cluster/redis": ["redis.ts"],
  "bridge/http": ["server.ts", "metrics.ts", "callers.ts", "in-process-api.ts", "config.ts"],
  "bridge/journal/stores/redis": ["redis.ts"],
  "bridge/websocket": ["server.ts", "sockets.ts", "config.ts"],
  "broker/sessions/earlier": ["take-over.ts"],
};

const MAX_BRIDGE_ROOMS = 13;
const MAX_BRIDGE_ARROWS = 50;

function roomOf(path: string): string {
  const [, room = "", ...rest] = path.split("/");
  return rest.length === 0 ? "." : room;
}

/** Imports between rooms as `from → to`, each with one example. */
function arrowsOf(part: string): Map<string, string> {
  const arrows = new Map<string, string>();
  for (const { path, imports } of sourceFiles(part)) {
    for (const target of imports.filter((name) => name.startsWith(`${part}/`))) {
      const [from, to] = [roomOf(path), roomOf(target)];
      if (from !== to) arrows.set(`${from} → ${to}`, `${path} imports ${target}`);
    }
  }
  return arrows;
}

describe.each(Object.entries(FLOORS))("the rooms of %s", (part, floors) => {
  it("are exactly the listed rooms", () => {
    expect([...new Set(sourceFiles(part).map(({ path }) => roomOf(path)))].sort()).toEqual([...floors].sort());
  });

  it("import only later rooms", () => {
    const upwards = [...arrowsOf(part)].filter(([arrow]) => {
      const [from = "", to = ""] = arrow.split(" → ");
      return floors.indexOf(to) < floors.indexOf(from);
    });
    expect(upwards.map(([, example]) => example)).toEqual([]);
  });
});

describe.each(Object.entries(DOORS))("the door of %s", (room, doors) => {
  it(`is ${doors.join(", ")}`, () => {
    const past = sourceFiles(...PARTS)
      .filter(({ path }) => !path.startsWith(`${room}/`))
      .flatMap(({ path, imports }) =>
        imports
          .filter((target) => target.startsWith(`${room}/`) && !doors.includes(target.slice(room.length + 1)))
          .map((target) => `${path} imports ${target}`),
      );
    expect(past).toEqual([]);
  });
});

describe("bridge", () => {
  it(`has at most ${MAX_BRIDGE_ROOMS} rooms and ${MAX_BRIDGE_ARROWS} arrows between them`, () => {
    expect(FLOORS.bridge?.length).toBeLessThanOrEqual(MAX_BRIDGE_ROOMS);
    expect(arrowsOf("bridge").size).toBeLessThanOrEqual(MAX_BRIDGE_ARROWS);
  });
});

describe.each(PARTS)("%s", (part) => {
  it("has no circle of imports", () => {
    expect(circlesOf(sourceFiles(part))).toEqual([]);
  });
});

/** Finds strongly connected components of several files, by Tarjan's algorithm. */
function circlesOf(files: readonly SourceFile[]): string[][] {
  const importsOf = new Map(files.map(({ path, imports }) => [path, imports]));
  const index = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];
  const visit = (path: string): void => {
    index.set(path, index.size);
    lowest.set(path, index.get(path) ?? 0);
    stack.push(path);
    for (const target of importsOf.get(path) ?? []) {
      if (!importsOf.has(target)) continue;
      if (!index.has(target)) visit(target);
      if (stack.includes(target)) lowest.set(path, Math.min(lowest.get(path) ?? 0, lowest.get(target) ?? 0));
    }
    if (lowest.get(path) !== index.get(path)) return;
    const circle = stack.splice(stack.indexOf(path));
    if (circle.length > 1) circles.push(circle);
  };
  for (const { path } of files) if (!index.has(path)) visit(path);
  return circles;
}
