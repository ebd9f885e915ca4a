import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";

let path: string;
let logged: string[];
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "skylapse-cluster-"));
  logged = [];
});
afterEach(() => rm(path, { recursive: true, force: true }));

function open(onDamage: (text: string) => void = () => {}) {
  const logger = pino({ level: "warn" }, { write: (line: string) => logged.push(line) });
  return openLocalCluster({ path, logger, onDamage: ({ missing }) => onDamage(missing) });
}

test("the cluster of one reports which documents may be lost after bytes of its log were flipped", async () => {
  const cluster = await open();
  for (const name of ["north", "south", "east"])
    await cluster.documents.put("devices", name, { secret: "x".repeat(60) });
  await cluster.stop();
  const folder = join(path, "log");
  const [name = ""] = (await readdir(folder)).filter((one) => /^\d+\.log$/.test(one));
  const bytes = await readFile(join(folder, name));
  const at = bytes.indexOf("document!devices!south") + 60;
  for (let index = at; index < at + 8; index++) bytes[index] = (bytes[index] ?? 0) ^ 0xff;
  await writeFile(join(folder, name), bytes);
  const found: string[] = [];
  const again = await open((text) => found.push(text));
  expect((await again.documents.list("devices")).map(({ key }) => key)).toEqual(["north"]);
  await again.stop();
  expect(found).toHaveLength(1);
  expect(found[0]).toContain("devices!south");
  expect(found[0]).toContain("devices!east");
  expect(found[0]).not.toContain("devices!north");
  expect(logged.join()).toContain("cluster store is damaged");
});
