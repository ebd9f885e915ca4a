import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { verifyData } from "../../../deploy/doctor/verify.ts";
import { backUp, restore } from "../../../deploy/stores/backup.ts";
import { startTestBroker, temporaryFolder } from "../../broker/broker-under-test.ts";
import { earlierData, earlierEnv, expectEverything } from "../../broker/sessions/earlier/earlier-data.ts";

it("a backup with the MQTT sessions of an earlier version is restored, checked and taken over", async () => {
  const [backup, dataPath, again] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
  await backUp(earlierData(), backup);
  await restore(backup, dataPath);
  const findings = await verifyData(dataPath);
  expect(findings.filter(({ verdict }) => verdict !== "ok")).toEqual([]);
  expect(findings.find(({ subject }) => subject === "mqtt")?.text).toMatch(/match their checksums/);
  const test = await startTestBroker({ dataPath, env: earlierEnv });
  await expectEverything(test);
  await test.broker.stop();
  // What is left over of the earlier version is neither checked nor backed up.
  expect((await verifyData(dataPath)).some(({ subject }) => subject === "mqtt")).toBe(false);
  await backUp(dataPath, again);
  expect(existsSync(join(dataPath, "mqtt-before-one-log"))).toBe(true);
  expect(existsSync(join(again, "mqtt-before-one-log"))).toBe(false);
});
