import { describe, expect, it } from "vitest";
import type { z } from "zod";
import {
  commandArgs,
  commandReplySchema,
  commandSchema,
  MAX_COMMAND_EXPIRES_IN,
  reportedScheduleSchema,
} from "../../contract/commands.ts";
import {
  alertNoteSchema,
  alertSchema,
  CAMERA_ALERTS,
  cameraAboutSchema,
  captureCompletedSchema,
  captureFailedSchema,
  captureProgressSchema,
  EVENTS,
  envelopeSchema,
  environmentSchema,
  jobRequestSchema,
  jobSchema,
  linkGapSchema,
  linkSchema,
  outboxDroppedSchema,
  powerSchema,
  presenceSchema,
  previewUpdatedSchema,
  publicationRefusedSchema,
  REFUSAL_REASONS,
  reportedSettingsSchema,
  resourcesSchema,
  SERVICE_ALERTS,
  storageSchema,
  systemStatusSchema,
  usualEvent,
} from "../../contract/events.ts";
import { grantsOf, PERMISSIONS } from "../../contract/permissions.ts";
import { isRetained, type Topic, topicTree } from "../../contract/topics.ts";
import { readPage, sectionOf, tableRows } from "./pages.ts";

const page = readPage("docs/mqtt.md");
const tree = topicTree();

/** The names between back-quotes, such as `status` or `until?`. */
const quotedIn = (text = ""): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);
const unquoted = (text = ""): string => text.replaceAll("`", "");

function rowsOf(heading: string): Map<string, string[]> {
  return new Map(tableRows(sectionOf(page, heading)).map(([first = "", ...rest]) => [unquoted(first), rest]));
}

/** The fields of a schema as the page writes them: `until?` is a field that may be missing. */
function fieldsOf(schema: z.ZodObject): string[] {
  return Object.entries(schema.shape)
    .map(([name, field]) => ((field as z.ZodType).safeParse(undefined).success ? `${name}?` : name))
    .sort();
}

describe("the topics", () => {
  /** One topic of each kind. The compiler reports a missing kind. */
  const topics: Record<Topic["kind"], string> = {
    "camera-link": "cameras/north/link",
    "camera-about": "cameras/north/about",
    "camera-state": "cameras/north/state/power",
    "camera-event": "cameras/north/events/capture.completed",
    "camera-alert": "cameras/north/alerts/heater",
    "camera-alert-note": "cameras/north/alerts/heater/mute",
    "camera-preview": "cameras/north/previews/c1",
    "camera-command": "cameras/north/commands/capture.now",
    "camera-reply": "cameras/north/replies/capture.now",
    "camera-other": "cameras/north/own/topic",
    "service-link": "processing/stacker/link",
    "service-job": "processing/stacker/jobs/j1",
    "service-event": "processing/stacker/events/job.slow",
    "service-alert": "processing/stacker/alerts/job-queue",
    "service-alert-note": "processing/stacker/alerts/job-queue/acknowledgement",
    "service-other": "processing/stacker/own/topic",
    system: "system/status",
    "home-assistant": "home-assistant/north/state",
    "channel-event": "channels/dashboard/events/weather.warning",
  };
  const documented = tableRows(sectionOf(page, "## Topics"))
    .filter(([topic = ""]) => /^`(cameras|processing|system|home-assistant|channels)\/\{/.test(topic))
    .map(([topic = "", , retained = ""]) => ({ pattern: unquoted(topic), retained }));

  function rowOf(topic: string) {
    const matches = ({ pattern }: { pattern: string }) => {
      const levels = pattern.split("/");
      const own = topic.split("/");
      return levels.length === own.length && levels.every((level, at) => level.startsWith("{") || level === own[at]);
    };
    return (
      documented.find(({ pattern }) => !pattern.includes("{any}") && matches({ pattern })) ?? documented.find(matches)
    );
  }

  it.each(Object.entries(topics))("include the kind %s, retained as in the contract", (kind, name) => {
    const topic = tree.parse(`${tree.root}/${name}`);
    expect(topic?.kind).toBe(kind);
    expect(topic).toBeDefined();
    if (topic !== undefined) expect(rowOf(name)?.retained).toBe(isRetained(topic) ? "yes" : "no");
  });

  it("include no topic outside the contract", () => {
    expect(new Set(Object.values(topics).map(rowOf)).size).toBe(documented.length);
  });
});

describe("the permissions", () => {
  const rows = tableRows(sectionOf(page, "### Who may read and write"));
  const named = rows.map(([permission = ""]) => quotedIn(permission)[0] ?? "");
  const filled = (text: string) => text.replaceAll("{id}", "north");

  it("are those of the contract", () => {
    const withId = ["camera:{id}:read", "camera:{id}:control", "device:{id}", "processing:{id}"];
    expect(named.toSorted()).toEqual([...PERMISSIONS, ...withId].sort());
  });

  it.each(rows.map(([permission = "", read = "", write = ""]) => [quotedIn(permission)[0] ?? "", read, write]))(
    "%s allows exactly the topics of its row",
    (permission, read, write) => {
      const grants = grantsOf([filled(permission)], { tree });
      if (permission === "admin") {
        expect(grants.canSubscribe("#") && grants.canSubscribe("$SYS/#")).toBe(true);
        return;
      }
      for (const filter of quotedIn(read)) expect(grants.canSubscribe(`${tree.root}/${filled(filter)}`)).toBe(true);
      expect(grants.canSubscribe("#")).toBe(false);
      const [filter] = quotedIn(write);
      if (filter === undefined) return;
      const topic = filled(filter)
        .replace("channels/+", "channels/dashboard")
        .replace("cameras/+", "cameras/north")
        .replace("+", "own.name");
      expect(grants.canWriteTopic(`${tree.root}/${topic.replace("#", "own/topic")}`)).toBe(true);
    },
  );
});

describe("the states", () => {
  it("have the events of the contract", () => {
    for (const [name, [events]] of rowsOf("### States")) {
      if (!/^[a-z]+$/.test(name) || name === "presence" || name === "gaps") continue;
      expect(quotedIn(events)).toEqual([usualEvent({ kind: "camera-state", camera: "north", name }, {})]);
    }
  });
});

describe("the envelope", () => {
  it("has the fields of the contract", () => {
    const rows = tableRows(sectionOf(page, "## Payloads"));
    const fields = rows.map(([name = "", required]) => `${unquoted(name)}${required === "no" ? "?" : ""}`);
    expect(fields.sort()).toEqual(fieldsOf(envelopeSchema));
  });
});

describe("the events", () => {
  const rows = rowsOf("## Events");
  const schemas: Partial<Record<(typeof EVENTS)[number], z.ZodObject>> = {
    "system.status": systemStatusSchema,
    "environmental.update": environmentSchema,
    "capture.progress": captureProgressSchema,
    "capture.completed": captureCompletedSchema,
    "capture.failed": captureFailedSchema,
    "preview.updated": previewUpdatedSchema,
    "job.requested": jobRequestSchema,
    "job.progress": jobSchema,
    "settings.applied": reportedSettingsSchema,
    "schedule.updated": reportedScheduleSchema,
    "alert.acknowledged": alertNoteSchema,
    "alert.raised": alertSchema,
    "link.gap": linkGapSchema,
    "outbox.dropped": outboxDroppedSchema,
    "publication.refused": publicationRefusedSchema,
    "service.link": linkSchema,
  };

  it("are those of the contract", () => {
    expect([...rows.keys()].filter((name) => name.includes(".") && !name.includes("/")).sort()).toEqual(
      EVENTS.toSorted(),
    );
  });

  it.each(Object.entries(schemas))("%s has the fields of the contract", (event, schema) => {
    const [, data = ""] = rows.get(event) ?? [];
    // The names at the beginning of the cell are the fields, before any remarks.
    const fields = quotedIn(data).slice(0, Object.keys(schema.shape).length);
    expect(fields.sort()).toEqual(fieldsOf(schema));
  });

  it("name the fields of `about`, and the three kinds of resources", () => {
    const about = quotedIn(rows.get("camera.about")?.[1]);
    expect(about).toEqual(expect.arrayContaining(fieldsOf(cameraAboutSchema)));
    for (const [topic, schema] of [
      ["system/resources", resourcesSchema],
      ["state/storage", storageSchema],
      ["state/power", powerSchema],
    ] as const)
      expect(quotedIn(rows.get(topic)?.[0]).sort()).toEqual(fieldsOf(schema));
  });

  it("name the alerts of the backend", () => {
    const section = quotedIn(sectionOf(page, "## Events"));
    expect(section).toEqual(expect.arrayContaining([...CAMERA_ALERTS, ...SERVICE_ALERTS]));
  });
});

it("names every reason for a refused publication", () => {
  expect([...rowsOf("## Refused publications").keys()].sort()).toEqual(REFUSAL_REASONS.toSorted());
});

describe("presence", () => {
  it("has the fields and statuses of the contract", () => {
    const rows = rowsOf("## Presence and wills");
    const fields = [...rows.keys()].filter((name) => /^[a-z_]+\??$/.test(name));
    expect(fields.sort()).toEqual(fieldsOf(presenceSchema));
    expect(quotedIn(rows.get("status")?.[0])).toEqual(expect.arrayContaining(presenceSchema.shape.status.options));
  });
});

describe("the commands", () => {
  const rows = rowsOf("## Commands");

  it("are those of the contract", () => {
    expect([...rows.keys()]).toEqual(expect.arrayContaining(Object.keys(commandArgs)));
    expect(page).toContain(MAX_COMMAND_EXPIRES_IN.toLocaleString("en"));
  });

  it("have the fields of the contract, in commands and in replies", () => {
    const section = sectionOf(page, "## Commands");
    for (const name of Object.keys(commandSchema.shape)) expect(section).toContain(`"${name}":`);
    expect(quotedIn(section)).toEqual(expect.arrayContaining(fieldsOf(commandReplySchema)));
  });
});
