import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { startInProcessServer } from "../../support/in-process-server.ts";
import { startRedis } from "../../support/redis.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

const FIRST = "correct horse battery";
const SECOND = "another horse battery";

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

/** Runs the command with the words of `line` as arguments. */
function commandOf(variables: Record<string, string>) {
  return (line: string, input = "") => runCommand(variables, line.split(" "), input);
}

async function startServer(dataPath: string, env: Record<string, string> = {}) {
  const server = await startInProcessServer(dataPath, env);
  onTestFinished(async () => {
    await server.end();
  });
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${server.http}${path}`, { method: "POST", body: JSON.stringify(body) });
    const { token, refresh_token }: { token?: string; refresh_token?: string } = await answer.json();
    return { status: answer.status, token, refresh_token };
  };
  return {
    end: () => server.end(),
    skylapse: commandOf({ DATA_PATH: dataPath, SKYLAPSE_URL: server.http }),
    logIn: (user_id: string, password: string) => post("/auth/login", { user_id, password }),
    refresh: (refresh_token = "") => post("/auth/refresh", { refresh_token }),
    /** The status of a request that all tokens of these tests permit. */
    statusOf: async (token = "") =>
      (await fetch(`${server.http}/cameras`, { headers: { authorization: `Bearer ${token}` } })).status,
  };
}

it("adds an account that can log in, changes its permissions and password, and removes the account", async () => {
  const { skylapse, logIn, statusOf } = await startServer(newDataPath());
  const status = async (password: string) => (await logIn("alice", password)).status;

  expect(await skylapse("user add alice", `${FIRST}\n`)).toMatchObject({ code: 0, errors: "" });
  const { token } = await logIn("alice", FIRST);
  expect(await statusOf(token)).toBe(200);
  expect((await skylapse("user list")).output).toBe("alice\tviewer");
  const again = await skylapse("user add alice", `${FIRST}\n`);
  expect(again).toMatchObject({ code: 1, errors: 'skylapse: There is an account "alice" already\n' });

  expect(await skylapse("user set alice --permission jobs:read alerts:read")).toMatchObject({ code: 0, errors: "" });
  expect((await skylapse("user list")).output).toBe("alice\tjobs:read alerts:read");
  expect(await statusOf(token)).toBe(403);
  await skylapse("user set alice --role admin");
  expect(await statusOf(token)).toBe(200);
  await skylapse("user set alice --disable");
  expect((await skylapse("user list")).output).toBe("alice\tadmin\tdisabled");
  expect([await statusOf(token), await status(FIRST)]).toEqual([401, 401]);
  await skylapse("user set alice --enable");
  expect(await status(FIRST)).toBe(200);

  expect((await skylapse("user passwd alice", "short\n")).errors).toContain("at least 10 characters");
  expect((await skylapse("user passwd alice", `${SECOND}\n`)).code).toBe(0);
  expect([await status(FIRST), await status(SECOND)]).toEqual([401, 200]);
  expect((await skylapse("user remove alice")).code).toBe(0);
  expect((await skylapse("user list")).output).toBe("");
  expect(await skylapse("user remove alice")).toMatchObject({
    code: 1,
    errors: 'skylapse: There is no account "alice"\n',
  });
});

it("issues tokens of a running server, and revokes the tokens by id, by login, by user, and for all users", async () => {
  const { skylapse, logIn, statusOf } = await startServer(newDataPath());
  const mint = async (line = "token carol --permission admin --expires-in 60") => (await skylapse(line)).output;
  const claim = (name: string, token = "") =>
    String(JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString())[name]);

  const [one, other] = [await mint(), await mint()];
  await skylapse(`revoke --token-id ${claim("jti", one)}`);
  expect([await statusOf(one), await statusOf(other)]).toEqual([401, 200]);

  await skylapse("user add alice", `${FIRST}\n`);
  const { token } = await logIn("alice", FIRST);
  await skylapse(`revoke --session ${claim("sid", token)}`);
  expect([await statusOf(token), await statusOf(other)]).toEqual([401, 200]);

  await skylapse(`revoke --user carol --issued-before ${new Date(1e12).toISOString()}`);
  expect(await statusOf(other)).toBe(200);
  await skylapse("revoke --user carol");
  expect(await statusOf(other)).toBe(401);

  const last = await mint("token dave --permission admin");
  await skylapse(`revoke --issued-before ${new Date().toISOString()}`);
  expect([await statusOf(last), await statusOf(await mint())]).toEqual([401, 200]);
  const future = await skylapse(`revoke --issued-before ${new Date(Date.now() + 3_600_000).toISOString()}`);
  expect([future.code, future.errors]).toEqual([1, expect.stringContaining("must not be in the future")]);
});

it("manages accounts and tokens before the first start and between two starts, and ends the sessions of a user", async () => {
  const dataPath = newDataPath();
  const skylapse = commandOf({ DATA_PATH: dataPath, ...NO_SERVER, TOKEN_TTL_SECONDS: "3600" });
  expect(await skylapse("user add alice --role admin", `${FIRST}\n`)).toMatchObject({ code: 0, output: "" });
  const tooLong = await skylapse("token carol --permission camera:read --expires-in 7200");
  expect(tooLong.code).toBe(1);
  expect(tooLong.errors).toContain("`expires_in` must be at most 3600, not 7200: TOKEN_TTL_SECONDS allows no more");
  const early = await skylapse("token carol --permission camera:read --expires-in 3600");

  const before = await startServer(dataPath);
  expect(await before.statusOf(early.output)).toBe(200);
  const login = await before.logIn("alice", FIRST);
  const { output: minted } = await before.skylapse("token alice --permission camera:read");
  expect([await before.statusOf(login.token), await before.statusOf(minted)]).toEqual([200, 200]);
  await before.end();

  expect((await skylapse("user passwd alice", `${SECOND}\n`)).code).toBe(0);
  expect((await skylapse("revoke --user carol")).code).toBe(0);
  expect((await skylapse("user list")).output).toBe("alice\tadmin");

  const after = await startServer(dataPath);
  for (const token of [login.token, minted, early.output]) expect(await after.statusOf(token)).toBe(401);
  expect((await after.refresh(login.refresh_token)).status).toBe(401);
  expect([(await after.logIn("alice", FIRST)).status, (await after.logIn("alice", SECOND)).status]).toEqual([401, 200]);

  const audit = readFileSync(join(dataPath, "audit.log"), "utf8").trim().split("\n");
  expect(audit.map((line) => JSON.parse(line)).filter(({ who }) => who === "operator")).toMatchObject([
    { action: "user.create", target: "user:alice", outcome: "role admin" },
    { action: "token.mint", target: expect.stringMatching(/^user:carol token:\S+ camera:read$/) },
    { action: "token.mint", target: expect.stringMatching(/^user:alice token:\S+ camera:read$/) },
    { action: "user.update", target: "user:alice", outcome: "password" },
    { action: "token.revoke", target: "user:carol" },
  ]);
});

it("changes the data in Redis if its own server is stopped, and running nodes apply the change", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const shared = { REDIS_URL: redis.url, JWT_SECRET: "j".repeat(32) };
  const node = await startServer(newDataPath(), shared);
  const skylapse = commandOf({ DATA_PATH: newDataPath(), ...NO_SERVER, ...shared });
  await skylapse("user add alice", `${FIRST}\n`);
  await expect.poll(async () => (await node.logIn("alice", FIRST)).status).toBe(200);
  const { token } = await node.logIn("alice", FIRST);
  await skylapse("user remove alice");
  await expect.poll(() => node.statusOf(token)).toBe(401);
});

it.each([
  ["an unknown role", "user add alice --role boss", "Allowed choices are viewer, admin"],
  ["nothing to change", "user set alice", "nothing to change"],
  ["an invalid lifetime", "token carol --permission admin --expires-in 1h", "a whole number of seconds"],
  ["nothing to revoke", "revoke", "nothing to revoke"],
  ["two things to revoke", "revoke --user alice --token-id 7", "cannot be used with"],
  ["an invalid time", "revoke --issued-before yesterday", "must be a time such as"],
])("refuses a command line with %s", async (_, line, why) => {
  const { code, errors } = await commandOf({ DATA_PATH: newDataPath(), ...NO_SERVER })(line);
  expect([code, errors]).toEqual([2, expect.stringContaining(why)]);
});
