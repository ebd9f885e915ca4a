import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { closed } from "../broker/broker-under-test.ts";
import { auditText } from "../support/audit.ts";
import { signToken } from "../support/dashboard.ts";
import { OPERATOR_KEY, type Program, ROOT, startProgram } from "./mqtt-program.ts";

const COMMAND = `${ROOT}/cameras/north/commands/reboot`;
let program: Program;

beforeAll(async () => {
  program = await startProgram();
});
afterAll(() => program.stop());

/** Connects a client that has a will. */
function clientOf(user: string, permissions: readonly string[], topic: string, seconds?: number) {
  const will = { topic, payload: Buffer.from("{}"), qos: 1 as const };
  return program.client([], { username: user, password: signToken(user, permissions, seconds), will });
}

async function revoke(user_id: string): Promise<void> {
  const answer = await fetch(`${program.skylapse.http}/auth/revoke`, {
    method: "POST",
    headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    body: JSON.stringify({ user_id }),
  });
  expect(answer.status).toBe(204);
}

/** The entries about the user in the audit log. Waits for the first entry. */
async function doneBy(user: string): Promise<unknown> {
  const entries = () =>
    auditText(program.skylapse.dataPath)
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line)]))
      .filter(({ who }) => who === `user:${user}`)
      .map(({ action, target, outcome }) => [action, target, outcome]);
  await expect.poll(entries).not.toEqual([]);
  return entries();
}

describe("the will of a client whose token is no longer valid", () => {
  it.each([
    ["a command", "alice", ["camera:control"], COMMAND],
    ["a broadcast", "bob", ["broadcast:write"], `${ROOT}/channels/dashboard/events/weather.warning`],
    ["a message outside the root", "carol", ["admin"], "house/light"],
  ])("is not published when the will is %s", async (_, user, permissions, topic) => {
    const disconnected = closed(await clientOf(user, permissions, topic));
    await revoke(user);
    await disconnected;
    expect(await doneBy(user)).toEqual([["publish", topic, "permission_denied"]]);
    expect(await program.published()).toEqual([]);
  });

  it("is not published when the token has expired", async () => {
    await closed(await clientOf("dave", ["camera:control"], COMMAND, 5));
    expect(await doneBy("dave")).toEqual([["publish", COMMAND, "permission_denied"]]);
    expect(await program.published()).toEqual([]);
  });

  it("is published when the will only says that its own client is offline, because that is true", async () => {
    const topic = `${ROOT}/processing/stacker/link`;
    const disconnected = closed(await clientOf("eve", ["processing:stacker"], topic));
    await revoke("eve");
    await disconnected;
    const seen: string[] = [];
    const look = async () => {
      seen.push(...(await program.published()));
      return seen;
    };
    await expect.poll(look).toEqual([topic]);
  });
});

it("the broker publishes the will of a client whose connection breaks, under the name of the client's user", async () => {
  const client = await clientOf("frank", ["camera:control"], COMMAND);
  client.stream.destroy();
  const target = "camera:north reboot";
  // The command fails, because the camera is not connected.
  const done = [
    ["command", target, "issued"],
    ["command", target, "failed"],
  ];
  await expect.poll(() => doneBy("frank")).toEqual(done);
});
