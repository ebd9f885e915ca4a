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

/** A client whose will waits for its end. */
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

/** What the audit log says that the user did, or was refused, as soon as it says something. */
async function doneBy(user: string): Promise<unknown> {
  const entries = () =>
    auditText(program.skylapse.dataPath)
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line)]))
      .filter(({ who }) => who === `user:${user}`)
      .map(({ action, target, outcome }) => [action, target, outcome]);
  await expect.poll(entries, { timeout: 20_000 }).not.toEqual([]);
  return entries();
}

describe("the will of a client whose token is good no more", () => {
  it.each([
    ["a command", "alice", ["camera:control"], COMMAND],
    ["a broadcast", "bob", ["broadcast:write"], `${ROOT}/channels/dashboard/events/weather.warning`],
    ["a message outside the root", "carol", ["admin"], "house/light"],
  ])("is not carried out when it is %s", async (_, user, permissions, topic) => {
    const gone = closed(await clientOf(user, permissions, topic));
    await revoke(user);
    await gone;
    expect(await doneBy(user)).toEqual([["publish", topic, "permission_denied"]]);
    expect(await program.published()).toEqual([]);
  });

  it("is not carried out when the token has expired, either", async () => {
    await closed(await clientOf("dave", ["camera:control"], COMMAND, 5));
    expect(await doneBy("dave")).toEqual([["publish", COMMAND, "permission_denied"]]);
    expect(await program.published()).toEqual([]);
  });

  it("still says of the client itself that it is gone, for that is true", async () => {
    const topic = `${ROOT}/processing/stacker/link`;
    const gone = closed(await clientOf("eve", ["processing:stacker"], topic));
    await revoke("eve");
    await gone;
    const seen: string[] = [];
    const look = async () => {
      seen.push(...(await program.published()));
      return seen;
    };
    await expect.poll(look, { timeout: 20_000 }).toEqual([topic]);
  });
});

it("the will of a client whose link breaks is carried out, in its name", async () => {
  const client = await clientOf("frank", ["camera:control"], COMMAND);
  client.stream.destroy();
  const target = "camera:north reboot";
  // The camera is not there.
  const done = [
    ["command", target, "issued"],
    ["command", target, "failed"],
  ];
  await expect.poll(() => doneBy("frank"), { timeout: 20_000 }).toEqual(done);
});
