import { expect, it, onTestFinished } from "vitest";
import { startInProcessServer } from "../../support/in-process-server.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { runCommand } from "../../support/skylapse-command.ts";

it("makes, changes and removes groups of cameras, and limits accounts to them", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const server = await startInProcessServer(dataPath);
  onTestFinished(async () => {
    await server.end();
  });
  const variables = { DATA_PATH: dataPath, SKYLAPSE_URL: server.http };
  const run = (line: string, input = "") => runCommand(variables, line.split(" "), input);

  await run("camera-group add alps --camera north south");
  await run("camera-group add low --name Valleys");
  expect((await run("camera-group list")).output).toBe("alps\talps\tnorth south\nlow\tValleys");
  expect(await run("camera-group add alps")).toMatchObject({ code: 1, errors: expect.stringContaining("already") });

  expect(await run("camera-group set alps")).toMatchObject({ code: 2 });
  await run("camera-group set alps --name Alps --camera north");
  expect((await run("camera-group list")).output).toContain("alps\tAlps\tnorth\n");
  await run("camera-group set alps --no-cameras");
  expect((await run("camera-group list")).output).toContain("alps\tAlps\t\n");

  await run("user add alice --camera-group alps low", "a mountain at dawn\n");
  expect((await run("user list")).output).toBe("alice\tviewer\tonly alps low");
  expect(await run("camera-group remove alps")).toMatchObject({ code: 1, errors: expect.stringContaining("alice") });
  await run("user set alice --camera-group low");
  expect(await run("camera-group remove alps")).toMatchObject({ code: 0, errors: "" });
  expect(await run("user set alice --all-cameras --camera-group low")).toMatchObject({ code: 2 });
  await run("user set alice --all-cameras");
  expect((await run("user list")).output).toBe("alice\tviewer");
});
