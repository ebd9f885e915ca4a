import { describe, expect, it } from "vitest";
import { ReplyCode } from "../../../contract/codes.ts";
import type { CommandStatus } from "../../../contract/commands.ts";
import {
  ClientLimitError,
  NotConnectedError,
  OutcomeUnknownError,
  RequestRefusedError,
} from "../../../dashboard-client/client/errors.ts";
import { connect, serve, untilConnected } from "../support/harness.ts";

describe("a command", () => {
  it("reports every step and resolves to the outcome", async () => {
    const server = await serve();
    server.script.command = (connection, { id, camera }) => {
      for (const status of ["sent", "delivered", "accepted"] as const)
        connection.send({ type: "command_result", id, camera, command_id: "01J", status });
      connection.send({
        type: "command_result",
        id,
        camera,
        command_id: "01J",
        status: "succeeded",
        result: { capture: "c1" },
      });
    };
    const { client } = connect(server.url);
    await untilConnected(client);
    const steps: CommandStatus[] = [];
    const result = await client.command(
      "north",
      "capture.now",
      { a: 1 },
      {
        expiresIn: 5,
        onProgress: ({ status }) => steps.push(status),
      },
    );
    expect(result).toEqual({
      status: "succeeded",
      commandId: "01J",
      result: { capture: "c1" },
      error: undefined,
      code: undefined,
    });
    expect(steps).toEqual(["sent", "delivered", "accepted", "succeeded"]);
    expect(server.connections[0]?.received.find(({ type }) => type === "command")).toMatchObject({
      ...{ camera: "north", name: "capture.now", args: { a: 1 }, expires_in: 5 },
    });
  });

  it.each(["failed", "rejected", "unknown", "timed_out", "expired"] as const)(
    "also resolves with %s, which is an outcome",
    async (status) => {
      const server = await serve();
      server.script.command = (connection, { id }) =>
        connection.send({ type: "command_result", id, status, error: "why", code: ReplyCode.deviceOffline });
      const { client } = connect(server.url);
      await untilConnected(client);
      expect(await client.command("north", "reboot")).toMatchObject({ status, error: "why", code: 120 });
    },
  );

  it("rejects if the server refuses the request", async () => {
    const server = await serve();
    server.script.command = (connection, { id }) =>
      connection.send({ type: "error", id, error: "not yours", code: ReplyCode.permissionDenied });
    const { client } = connect(server.url);
    await untilConnected(client);
    const error = await client.command("north", "reboot").catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(RequestRefusedError);
    expect(error).toMatchObject({ message: "not yours", code: 103 });
  });

  it("is not queued without a connection", async () => {
    const server = await serve();
    server.script.auth = () => {};
    const { client } = connect(server.url);
    await expect(client.command("north", "capture.now")).rejects.toBeInstanceOf(NotConnectedError);
  });

  it("has an unknown outcome if the connection is lost or closed before the outcome arrives", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    await untilConnected(client);
    const cut = client.command("north", "capture.now");
    await server.connections[0]?.next("command");
    server.connections[0]?.cut();
    await expect(cut).rejects.toBeInstanceOf(OutcomeUnknownError);
    await server.connection(1);
    await untilConnected(client);
    const closed = client.command("north", "capture.now");
    client.close();
    await expect(closed).rejects.toBeInstanceOf(OutcomeUnknownError);
  });

  it("has an unknown outcome if no step arrives until the command has expired and the grace period has ended", async () => {
    const server = await serve();
    const { client } = connect(server.url, { commandGraceMs: -960 });
    await untilConnected(client);
    await expect(client.command("north", "capture.now", {}, { expiresIn: 1 })).rejects.toBeInstanceOf(
      OutcomeUnknownError,
    );
  });

  it("is refused if too many commands are pending", async () => {
    const server = await serve();
    const { client } = connect(server.url, { maxPendingCommands: 2 });
    await untilConnected(client);
    const pending = [client.command("north", "reboot"), client.command("south", "reboot")];
    await expect(client.command("west", "reboot")).rejects.toBeInstanceOf(ClientLimitError);
    client.close();
    expect((await Promise.allSettled(pending)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  });

  it("continues if a listener throws, and ignores answers to other commands", async () => {
    const server = await serve();
    server.script.command = (connection, { id }) => {
      connection.send({ type: "command_result", id: 4242, status: "failed" });
      connection.send({ type: "command_result", status: "failed" });
      connection.send({ type: "command_result", id, status: "sent" });
      connection.send({ type: "command_result", id, status: "succeeded" });
      connection.send({ type: "command_result", id, status: "failed" });
    };
    const { client, problems } = connect(server.url);
    await untilConnected(client);
    const onProgress = (): void => {
      throw new Error("mine");
    };
    expect(await client.command("north", "reboot", {}, { onProgress })).toMatchObject({ status: "succeeded" });
    expect(problems.map(({ kind }) => kind)).toEqual(["listener_failed", "listener_failed"]);
  });
});
