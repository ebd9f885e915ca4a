import { describe, expect, it, onTestFinished } from "vitest";
import type { CommandUpdate } from "../../../bridge/commands/pending-commands.ts";
import { connect } from "./client.ts";
import { startRealtime } from "./server.ts";

describe("a request", () => {
  it.each<[string, string | Buffer, object]>([
    ["is not JSON", "hello", { error: "the message is not JSON" }],
    ["is binary", Buffer.from("{}"), { error: expect.stringContaining("text frame") }],
    ["is nested too deeply", `${"[".repeat(33)}${"]".repeat(33)}`, { error: "JSON is nested deeper than 32 levels" }],
    ["is not an object", "7", { error: expect.stringContaining("JSON object") }],
    ["has no type", '{"id":3}', { error: expect.stringContaining("type is missing"), id: 3 }],
    [
      "has an unknown type",
      '{"type":"dance","id":"a"}',
      { error: expect.stringContaining('"dance" is unknown'), id: "a" },
    ],
    ["names no channel", '{"type":"subscribe","id":4}', { error: expect.stringContaining("channel"), id: 4 }],
  ])("is answered with an error, and the connection stays open, when it %s", async (_, frame, expected) => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token());
    client.ws.send(frame);
    expect(await client.next("error")).toEqual({ type: "error", code: 107, ...expected });
    client.send({ type: "ping", id: 9 });
    expect(await client.next("pong")).toEqual({ type: "pong", id: 9 });
  });

  it("to subscribe from an invalid position gets an answer for its channel", async () => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token());
    client.send({ type: "subscribe", channel: "dashboard", since: { epoch: "x", position: -1 }, id: 5 });
    expect(await client.next("subscription_result")).toMatchObject({
      ...{ channel: "dashboard", success: false, code: 107, id: 5 },
      error: expect.stringContaining("since.position"),
    });
  });

  it("waits for the next turn of the event loop after sixteen other requests of its client", async () => {
    const { url, token, sockets } = await startRealtime();
    const client = await connect(url, token());
    const subscribed = () => Object.keys(sockets.channelCounts()).length;
    let before = 0;
    let most = 0;
    let watching = setImmediate(function look() {
      most = Math.max(most, subscribed() - before);
      before = subscribed();
      watching = setImmediate(look);
    });
    onTestFinished(() => clearImmediate(watching));
    for (let index = 0; index < 64; index++) client.send({ type: "subscribe", channel: `camera:c${index}`, id: index });
    await client.next("subscription_result", ({ id }) => id === 63);
    expect(client.messages.flatMap((message) => (message.type === "subscription_result" ? [message.id] : []))).toEqual(
      Array.from({ length: 64 }, (_, index) => index),
    );
    expect(subscribed()).toBe(64);
    expect(most).toBeLessThanOrEqual(16);
  });

  it("is refused above the rate limit, and many refusals in a row close the connection", async () => {
    // A rate so low that the test cannot send more than the burst.
    const { url, token } = await startRealtime({ maxMessagesPerSecond: 0.001, messageBurst: 3 });
    const client = await connect(url, token());
    for (let id = 1; id <= 8; id++) client.send({ type: "ping", id });
    await client.closed;
    expect(client.messages.slice(1)).toEqual([
      ...[1, 2, 3].map((id) => ({ type: "pong", id })),
      ...[4, 5, 6].map((id) => ({
        type: "error",
        error: "More than 0.001 messages a second: send fewer",
        code: 111,
        id,
      })),
    ]);
    expect((await client.closed).code).toBe(4003);
  });

  it("closes the connection when the client does not read the answers", async () => {
    const { url, token, accepted, sockets } = await startRealtime({
      ...{ maxMessagesPerSecond: Number.POSITIVE_INFINITY, maxQueuedBytes: 8_192 },
    });
    const client = await connect(url, token());
    client.ws.pause();
    const [socket] = accepted;
    const ask = () => {
      for (let count = 0; count < 100; count++) client.send({ type: "unsubscribe", channel: "x".repeat(128) });
      if (socket?.destroyed === false) setImmediate(ask);
    };
    ask();
    await expect.poll(() => sockets.stats().closes).toEqual({ 4208: 1 });
  });
});

describe("a command", () => {
  const update: CommandUpdate = { command_id: "01J", camera: "north", status: "sent" };

  it("is run for its user, and reports every status under the request's id", async () => {
    const asked: unknown[] = [];
    const { url, token } = await startRealtime({
      commands: {
        run: (request, onUpdate) => {
          asked.push(request);
          onUpdate(update);
          setImmediate(() => onUpdate({ ...update, status: "succeeded", result: { capture: "c1" } }));
        },
      },
    });
    const client = await connect(url, token("alice", ["camera:north:control"]));
    client.send({ type: "command", id: 7, camera: "north", name: "capture.now", args: {}, expires_in: 20 });
    expect(await client.next("command_result")).toEqual({ type: "command_result", id: 7, ...update });
    expect(await client.next("command_result")).toMatchObject({
      id: 7,
      status: "succeeded",
      result: { capture: "c1" },
    });
    const from = { who: "user:alice", address: "127.0.0.1" };
    expect(asked).toEqual([{ camera: "north", name: "capture.now", args: {}, argsText: "{}", expires_in: 20, from }]);
  });

  it("is rejected when the token does not permit commands to its camera", async () => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token("alice", ["camera:north:control", "camera:south:read"]));
    client.send({ type: "command", id: 1, camera: "south", name: "reboot" });
    expect(await client.next("command_result")).toMatchObject({
      id: 1,
      camera: "south",
      status: "rejected",
      code: 103,
    });
  });

  it("is rejected when it is malformed", async () => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token());
    client.send({ type: "command", id: 1, camera: "../#", name: "reboot" });
    expect(await client.next("command_result")).toMatchObject({
      ...{ id: 1, status: "rejected", code: 107 },
      error: expect.stringMatching(/^camera: /),
    });
  });

  it("is rejected while 32 other commands are pending, and accepted after one of these ends", async () => {
    const ends: (() => void)[] = [];
    const { url, token } = await startRealtime({
      commands: { run: (_, onUpdate) => ends.push(() => onUpdate({ ...update, status: "failed", error: "no film" })) },
    });
    const client = await connect(url, token());
    const command = (id: number) => client.send({ type: "command", id, camera: "north", name: "capture.now" });
    for (let id = 1; id <= 33; id++) command(id);
    expect(await client.next("command_result")).toMatchObject({ id: 33, status: "rejected", code: 106 });
    ends[0]?.();
    expect(await client.next("command_result")).toMatchObject({ id: 1, status: "failed", error: "no film" });
    command(34);
    await expect.poll(() => ends.length).toBe(33);
  });

  it("is rejected with code 100 when the server fails to run it", async () => {
    const { url, token } = await startRealtime({
      commands: {
        run: () => {
          throw new Error("out of order");
        },
      },
    });
    const client = await connect(url, token());
    client.send({ type: "command", id: 1, camera: "north", name: "capture.now" });
    expect(await client.next("command_result")).toMatchObject({ id: 1, status: "rejected", code: 100 });
  });
});
