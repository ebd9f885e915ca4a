import { expect, it, onTestFinished } from "vitest";
import { startInProcessServer } from "../../support/in-process-server.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { runCommand } from "../../support/skylapse-command.ts";

it("adds an integration, changes it, replaces its secret and removes it", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const server = await startInProcessServer(dataPath);
  onTestFinished(async () => {
    await server.end();
  });
  const variables = { DATA_PATH: dataPath, SKYLAPSE_URL: server.http };
  const integration = (line: string) => runCommand(variables, ["integration", ...line.split(" ")], "");
  const statusOf = async (secret: string) =>
    (await fetch(`${server.http}/cameras`, { headers: { authorization: `Bearer ${secret}` } })).status;

  const { output: secret } = await integration("add home-assistant");
  expect((await integration("list")).output).toBe("home-assistant\tviewer\tnever used");
  expect(await statusOf(secret)).toBe(200);
  const again = await integration("add home-assistant");
  expect(again).toMatchObject({ code: 1, errors: expect.stringContaining("already: rotate its secret") });

  await integration("set home-assistant --permission jobs:read");
  expect(await statusOf(secret)).toBe(403);
  expect(await integration("set home-assistant")).toMatchObject({ code: 2 });
  await integration("set home-assistant --role viewer");

  const { output: next } = await integration("rotate home-assistant");
  expect([await statusOf(secret), await statusOf(next)]).toEqual([200, 200]);
  expect((await integration("list")).output).toMatch(/\tends \d{4}-/);
  const { output: last } = await integration("rotate home-assistant --overlap 0");
  expect([await statusOf(secret), await statusOf(next), await statusOf(last)]).toEqual([401, 401, 200]);
  expect(await integration("rotate home-assistant --overlap soon")).toMatchObject({ code: 2 });

  expect(await integration("remove home-assistant")).toMatchObject({ code: 0, errors: "" });
  expect(await statusOf(last)).toBe(401);
  expect((await integration("list")).output).toBe("");
});
