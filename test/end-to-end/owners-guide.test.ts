import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PYTHON } from "../support/programs.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const run = promisify(execFile);

let skylapse: Skylapse;
const dataPath = makeDataPath();

beforeAll(async () => {
  skylapse = await startSkylapse({ dataPath, env: { SIMULATOR: "1", CAPTURE_INTERVAL_S: "3600" } });
});

afterAll(async () => {
  await skylapse.end();
  removeDataPath(dataPath);
});

const curl = async (...args: string[]): Promise<unknown> => JSON.parse((await run("curl", ["-sS", ...args])).stdout);

/** The exact call of the predecessor's documentation: no content type, no key. */
const mint = () =>
  curl(
    "-X",
    "POST",
    `${skylapse.http}/auth/token`,
    "-d",
    '{"user_id":"mountain_operator","permissions":["dashboard:read","camera:control"]}',
  );

/** A client that uses only the fields in the predecessor's documentation. */
const CLIENT = `
import asyncio, json, sys, websockets

async def main(url, token, broadcast):
    async with websockets.connect(url) as ws:
        await ws.send(json.dumps({"type": "auth", "token": token}))
        auth = json.loads(await ws.recv())
        await ws.send(json.dumps({"type": "subscribe", "channel": "dashboard"}))
        subscription = json.loads(await ws.recv())
        print(json.dumps({"auth": auth, "subscription": subscription}), flush=True)
        while True:
            message = json.loads(await ws.recv())
            if message["type"] == "dashboard_event" and message["event"] == broadcast:
                print(json.dumps(message), flush=True)
                return

asyncio.run(main(*sys.argv[1:]))
`;

describe("the predecessor's documentation", () => {
  it("has one curl call that mints a token on this machine", async () => {
    expect(await mint()).toEqual({
      token: expect.stringMatching(/^ey/),
      user_id: "mountain_operator",
      expires_in: expect.any(Number),
    });
  });

  it("suffices to write a working client", async () => {
    const { token } = (await mint()) as { token: string };
    const client = run(PYTHON, ["-c", CLIENT, skylapse.socket, token, "system.status.test"]);
    const subscribed = new Promise((resolve) => client.child.stdout?.once("data", resolve));
    await Promise.race([subscribed, client]);
    const answer = await curl(
      "-X",
      "POST",
      `${skylapse.http}/broadcast`,
      "-d",
      JSON.stringify({
        channel: "dashboard",
        message: {
          type: "dashboard_event",
          event: "system.status.test",
          data: { service: "capture" },
          timestamp: "2026-03-01T06:30:00Z",
        },
      }),
    );
    expect(answer).toEqual({ sent_to: 1, channel: "dashboard" });
    const [hello, event] = (await client).stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(hello.auth).toMatchObject({
      type: "auth_success",
      connection_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      user_id: "mountain_operator",
    });
    expect(hello.subscription).toMatchObject({ type: "subscription_result", channel: "dashboard", success: true });
    expect(event).toMatchObject({ type: "dashboard_event", event: "system.status.test", data: { service: "capture" } });
    expect(event.timestamp).toMatch(/Z$/);
  });

  it("names the fields of /health and /stats", async () => {
    expect(await curl(`${skylapse.http}/health`)).toMatchObject({
      status: "healthy",
      timestamp: expect.stringMatching(/Z$/),
      version: expect.any(String),
      connections: expect.any(Number),
      healthy_connections: expect.any(Number),
    });
    expect(await curl(`${skylapse.http}/stats`)).toMatchObject({
      total_connections: expect.any(Number),
      healthy_connections: expect.any(Number),
      channels: expect.any(Object),
      connection_details: expect.any(Array),
    });
  });
});
