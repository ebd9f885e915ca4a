import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { lastBackupAt, noteBackup } from "../../../bridge/stats/last-backup.ts";
import { createLatencies, viewLatencies } from "../../../bridge/stats/latencies.ts";

it("estimates the percentiles of measured latencies, and leaves out the others", async () => {
  const latencies = createLatencies();
  for (let event = 0; event < 98; event++) latencies.append.observe(0.002);
  for (let event = 0; event < 2; event++) latencies.append.observe(0.4);
  const { append, camera_to_server } = await viewLatencies(latencies);
  expect(camera_to_server).toBeUndefined();
  expect(append?.p50).toBeGreaterThan(1);
  expect(append?.p50).toBeLessThan(2.5);
  expect(append?.p99).toBeGreaterThan(250);
  expect(append?.p99).toBeLessThan(500);
});

it("knows when the data was copied last, also if the note is damaged", async () => {
  const dataPath = mkdtempSync(join(tmpdir(), "backup-note-"));
  onTestFinished(() => rmSync(dataPath, { recursive: true }));
  expect(await lastBackupAt(dataPath)).toBeUndefined();
  await noteBackup(dataPath, "2026-11-30T09:00:00.000Z");
  expect(await lastBackupAt(dataPath)).toBe("2026-11-30T09:00:00.000Z");
  writeFileSync(join(dataPath, "last-backup.json"), "{");
  expect(await lastBackupAt(dataPath)).toBeUndefined();
});
