import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { openAccounts } from "../../../bridge/auth/accounts.ts";
import { openCameraGroups } from "../../../bridge/auth/camera-groups.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { PYTHON } from "../../support/programs.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../../support/skylapse.ts";
import { BUNDLED_COMMAND, NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

const PASSWORD = "correct horse battery";
const SECRET = "a-secret-of-at-least-thirty-two-characters";

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

/** Starts a server. @returns the settings for commands that use this server */
async function startServer() {
  const dataPath = newDataPath();
  const server = await startSkylapse({ dataPath, env: { LOG_LEVEL: "silent" } });
  onTestFinished(async () => {
    await server.end();
  });
  return { DATA_PATH: dataPath, SKYLAPSE_URL: server.http };
}

/** Another program that listens on a port and records requests. */
async function startOtherProgram(answer: { status: number; location?: string }) {
  const seen: string[] = [];
  const server = createServer(({ method, url, headers }, response) => {
    seen.push(`${method} ${url} ${headers.authorization}`);
    response.writeHead(answer.status, answer.location === undefined ? {} : { location: answer.location });
    response.end("hello");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
  });
  const address = server.address();
  return { seen, port: String(typeof address === "object" && address !== null ? address.port : 0) };
}

it("reports a missing or wrong key, and says what to do", async () => {
  const variables = await startServer();
  const none = await runCommand({ ...variables, DATA_PATH: newDataPath() }, ["user", "list"]);
  expect([none.code, none.errors]).toEqual([
    1,
    expect.stringMatching(/OPERATOR_KEY is not set, and there is no key in .+: set OPERATOR_KEY/),
  ]);
  expect(await runCommand({ ...variables, OPERATOR_KEY: "w".repeat(32) }, ["user", "list"])).toMatchObject({
    code: 1,
    errors:
      "skylapse: the server refuses the operator key: set OPERATOR_KEY to that of the server, or DATA_PATH to its data\n",
  });
});

it("sends its key neither to another program on the port of the server nor to the target of a redirect", async () => {
  const { DATA_PATH, SKYLAPSE_URL } = await startServer();
  const [other, proxy] = [
    await startOtherProgram({ status: 200 }),
    await startOtherProgram({ status: 301, location: `${SKYLAPSE_URL}/livez` }),
  ];
  const ask = ({ port: WS_PORT }: { port: string }) =>
    runCommand({ DATA_PATH, WS_PORT }, ["user", "add", "alice"], `${PASSWORD}\n`);
  expect(await ask(other)).toMatchObject({ code: 1, errors: expect.stringContaining("another program answers at") });
  expect(await ask(proxy)).toMatchObject({
    code: 1,
    errors: expect.stringContaining(`redirects to ${SKYLAPSE_URL}: `),
  });
  expect([...other.seen, ...proxy.seen]).toEqual(["GET /livez undefined", "GET /livez undefined"]);
});

it("never sends a generated key to another machine", async () => {
  const dataPath = newDataPath();
  await runCommand({ DATA_PATH: dataPath, ...NO_SERVER }, ["camera", "list"]);
  const keyFor = async (url: string) => {
    const { generatedKey } = await import("../../../deploy/operator/operator-api.ts");
    return generatedKey(dataPath, url);
  };
  const key = await keyFor("http://127.0.0.1:8082");
  expect(key).toMatch(/^[\w-]{43}$/);
  expect([await keyFor("http://localhost:8082"), await keyFor("http://[::1]:8082")]).toEqual([key, key]);
  for (const url of ["https://sky.example.org", "http://10.0.0.5:8082", "http://127.0.0.1.example.org"])
    await expect(keyFor(url)).rejects.toThrow(`is not for ${url}`);
});

it("reads a secret from the standard input, and never prints this secret", async () => {
  const variables = { DATA_PATH: newDataPath(), ...NO_SERVER };
  const short = await runCommand(variables, ["camera", "add", "north", "--secret", "hunter2"]);
  expect([short.code, short.errors]).toEqual([2, "error: the secret must have at least 32 characters\n"]);
  const added = await runCommand(variables, ["camera", "add", "north", "--secret", "-"], `${SECRET}\nmore\n`);
  expect(added).toMatchObject({ code: 0, output: "" });
  const rotated = await runCommand(variables, ["camera", "rotate", "north", "--secret", `${SECRET}2`]);
  expect([rotated.code, rotated.output, rotated.errors]).toEqual([0, "", expect.not.stringContaining(SECRET)]);
});

it("reads the first line of an input that does not end", async () => {
  const env = { PATH: process.env.PATH, DATA_PATH: newDataPath(), ...NO_SERVER };
  const child = spawn(process.execPath, [BUNDLED_COMMAND, "user", "add", "alice"], {
    env,
    stdio: ["pipe", "ignore", "inherit"],
  });
  child.stdin.write(`${PASSWORD}\n`);
  const [code] = await once(child, "close");
  expect(code).toBe(0);
});

it("refuses a short or missing password before a call to a server", async () => {
  const variables = { DATA_PATH: newDataPath(), ...NO_SERVER };
  for (const input of ["", "short\n"])
    expect(await runCommand(variables, ["user", "add", "alice"], input)).toMatchObject({
      code: 1,
      errors: "skylapse: the password must have at least 10 characters\n",
    });
});

it("refuses an unknown permission, and suggests a similar permission", async () => {
  const variables = { DATA_PATH: newDataPath(), ...NO_SERVER };
  const args = ["user", "add", "alice", "--permission", "dashboard:raed", "camera:north:read", "device:north"];
  const { errors, code } = await runCommand(variables, args, `${PASSWORD}\n`);
  expect(code).toBe(1);
  expect(errors).toContain('there is no permission "dashboard:raed": did you mean "dashboard:read"?');
  expect((await runCommand(variables, ["user", "list"])).output).toBe("");
  expect(await runCommand(variables, ["token", "carol", "--permission", ""])).toMatchObject({
    code: 2,
    errors: expect.stringContaining("It must not be empty."),
  });
});

it("escapes control characters from the store and from the command line", async () => {
  const variables = { DATA_PATH: newDataPath(), ...NO_SERVER };
  const logger = pino({ level: "silent" });
  const cluster = await openLocalCluster({ path: join(variables.DATA_PATH, "cluster"), logger });
  const { documents } = cluster;
  const groups = await openCameraGroups({ documents, logger });
  const accounts = await openAccounts({ documents, groups, logger });
  // An earlier version accepted such permissions.
  const powers = { permissions: ["\u001b[2J\u202eread\nbob\tadmin"] };
  await accounts.create({ userId: "alice", password: PASSWORD, powers });
  accounts.stop();
  groups.stop();
  await cluster.stop();
  const { output } = await runCommand(variables, ["user", "list"]);
  expect(output).toBe("alice\t\\u001b[2J\\u202eread\\u000abob\\u0009admin");
  const { errors } = await runCommand(variables, ["user", "remove", "a\u202eb\u001b[2J"]);
  expect(errors).toContain("a\\u202eb\\u001b[2J");
});

it("exits with 1 and without a message if its output is closed", async () => {
  const env = { PATH: process.env.PATH, DATA_PATH: newDataPath(), ...NO_SERVER };
  const child = spawn(process.execPath, [BUNDLED_COMMAND, "check-config"], { env, stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  const [errors] = await Promise.all([text(child.stderr), once(child, "close")]);
  expect([child.exitCode, errors]).toEqual([1, ""]);
});

/** Types an answer to each prompt at a terminal, and prints the exit code and the whole screen. */
const AT_TERMINAL = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:4] + ["add", "alice"])
seen, keys = b"", [(b"Password of alice: ", sys.argv[4]), (b"Repeat the password: ", sys.argv[5])]
while True:
    try:
        chunk = os.read(fd, 4096)
    except OSError:
        chunk = b""
    if not chunk:
        break
    seen += chunk
    if keys and keys[0][0] in seen:
        os.write(fd, keys.pop(0)[1].encode())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(seen.decode())
`;

it.each([
  ["the same twice", [`${PASSWORD}\r`, `${PASSWORD}\r`], "0", "skylapse: no server answers"],
  ["two passwords", [`${PASSWORD}\r`, "another horse battery\r"], "1", "skylapse: the two passwords differ: try again"],
  ["Ctrl-C", ["\u0003", ""], "1", "skylapse: no password was entered"],
  ["Ctrl-D", ["\u0004", ""], "1", "skylapse: no password was entered"],
])("asks for a password at a terminal without showing it: %s", async (_, answers, code, message) => {
  const env = { PATH: process.env.PATH, DATA_PATH: newDataPath(), ...NO_SERVER };
  const terminal = spawn(PYTHON, ["-c", AT_TERMINAL, process.execPath, BUNDLED_COMMAND, "user", ...answers], { env });
  const [seen] = await Promise.all([text(terminal.stdout), once(terminal, "close")]);
  expect(seen.split("\n", 1)).toEqual([code]);
  expect(seen).toContain(message);
  expect(seen).not.toContain("horse");
});
