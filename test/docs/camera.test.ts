import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commandArgs, strictScheduleSchema } from "../../contract/commands.ts";
import { ExitCode } from "../../device/command-line.ts";
import { CAMERA_DRIVERS, loadConfig } from "../../device/config.ts";
import { temporaryFolder } from "../device/support/programs.ts";
import { projectFiles } from "../house/source-files.ts";
import { ROOT, readPage, sectionOf, tableRows } from "./pages.ts";

const page = readPage("docs/camera.md");

/** The JSON examples of the page, with the names of their markers. */
const examples = [...page.matchAll(/<!-- tried: (.+?) -->\n```json\n([\s\S]*?)\n```/g)].map(
  ([, name = "", json = ""]) => ({ name, json }),
);
const schedules = examples.filter(({ name }) => name === "camera schedule");

const quoted = (cell: string): string => /`([^`]+)`/.exec(cell)?.[1] ?? cell;

function writtenFile(name: string, content: string): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

describe("the examples", () => {
  it("are all used by a test", () => {
    expect(page.match(/```json/g)).toHaveLength(examples.length);
    expect(new Set(examples.map(({ name }) => name))).toEqual(
      new Set(["camera settings", "camera schedule", "settings.set"]),
    );
  });

  it("configure a camera with settings and schedule", () => {
    const settings = examples.find(({ name }) => name === "camera settings")?.json ?? expect.fail("no settings");
    const schedule = schedules[0]?.json ?? expect.fail("no schedule");
    const scheduleFile = writtenFile("schedule.json", schedule);
    const file = writtenFile("camera.json", settings.replace("/etc/skylapse-schedule.json", scheduleFile));
    const { camera, driver } = loadConfig({ file, env: {} });
    expect(driver.name).toBe("rpicam");
    expect(camera).toMatchObject({ id: "north", images: { minFreePercent: 10 }, preview: { every: 4 } });
    expect(camera.schedule).toEqual(JSON.parse(schedule));
  });

  it.each(schedules)("have a valid schedule: $json", ({ json }) => {
    expect(strictScheduleSchema.safeParse(JSON.parse(json)).error).toBeUndefined();
  });

  it("have valid arguments of settings.set", () => {
    const { json } = examples.find(({ name }) => name === "settings.set") ?? expect.fail("no settings");
    expect(commandArgs["settings.set"].safeParse(JSON.parse(json)).error).toBeUndefined();
  });
});

describe("the tables", () => {
  const firstColumn = (heading: string) => tableRows(sectionOf(page, heading)).map(([first = ""]) => quoted(first));

  it("list every driver, command and exit code", () => {
    expect(firstColumn("## Drivers").sort()).toEqual([...CAMERA_DRIVERS].sort());
    expect(firstColumn("## Commands").sort()).toEqual(Object.keys(commandArgs).sort());
    expect(firstColumn("## Exit codes").map(Number)).toEqual(Object.values(ExitCode));
  });

  it.each(firstColumn("## Previews"))("name a valid preview budget: %s", (budget) => {
    const env = { CAMERA_ID: "north", CAMERA_SECRET: "s", LOCATION_LAT: "0", LOCATION_LON: "0" };
    expect(() => loadConfig({ env: { ...env, PREVIEW_BUDGET: budget } })).not.toThrow();
  });

  it("quote only real messages of the program", () => {
    const source = projectFiles("device/*.ts").map((file) => readFileSync(join(ROOT, file), "utf8"));
    const all = source.join("\n").replaceAll(/\$\{[^}]*\}/g, "…");
    expect(firstColumn("## Troubleshooting").filter((message) => !all.includes(message))).toEqual([]);
  });
});

it("names only settings that exist", () => {
  const settings = readPage("docs/configuration.md");
  const names = new Set([...page.matchAll(/\b[A-Z]+(?:_[A-Z]+)+\b/g)].map(([name]) => name));
  const other = new Set(["NODE_EXTRA_CA_CERTS", "CAMERA_SECRET_FILE"]);
  expect([...names].filter((name) => !other.has(name) && !settings.includes(`\`${name}\``))).toEqual([]);
});
