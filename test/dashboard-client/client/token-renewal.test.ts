import { describe, expect, it } from "vitest";
import { CloseCode, ReplyCode } from "../../../contract/codes.ts";
import { connect, follow, serve, until, untilConnected, untilLive } from "../support/harness.ts";

describe("a token that expires during a connection", () => {
  it("is renewed on the same socket, without an interruption", async () => {
    const server = await serve();
    const { client, tokens } = connect(server.url);
    const followed = follow(client);
    await untilLive(followed);
    const connection = await server.connection(0);
    server.script.expiresIn = 1800;
    connection.send({ type: "token_expiring", expires_in: 60 });
    expect(await connection.next("auth", ({ token }) => token === "token-2")).toBeTruthy();
    await until(
      () => client.state.status === "connected" && client.state.session.tokenExpiresAt > Date.now() + 1_000_000,
    );
    server.publish({});
    await until(() => followed.positions().length === 1);
    expect(server.connections).toHaveLength(1);
    expect(tokens()).toBe(2);
    expect(connection.received.filter(({ type }) => type === "subscribe")).toHaveLength(1);
  });

  it("is requested again until it expires, if getToken fails or the server refuses the new token", async () => {
    const server = await serve();
    let asked = 0;
    const { client, problems } = connect(server.url, {
      getToken: () => {
        asked++;
        if (asked === 2) throw new Error("the token service sleeps");
        return `token-${asked}`;
      },
    });
    await untilConnected(client);
    const connection = await server.connection(0);
    server.script.auth = (answering, { token, id }) => {
      if (token === "token-3") answering.send({ type: "error", error: "not yet", code: ReplyCode.internal, id });
      else server.welcome(answering);
    };
    connection.send({ type: "token_expiring", expires_in: 60 });
    await connection.next("auth", ({ token }) => token === "token-4");
    expect(problems.map(({ kind }) => kind)).toEqual(["token", "token"]);
    expect(client.state.status).toBe("connected");
  });

  it("is renewed after the server closes the connection, and the channels resume from their cursors", async () => {
    const server = await serve();
    const { client, tokens } = connect(server.url);
    const followed = follow(client);
    await untilLive(followed);
    server.publish({});
    await until(() => followed.positions().length === 1);
    server.connections[0]?.close(CloseCode.tokenExpired);
    const again = await server.connection(1);
    expect(await again.next("auth")).toMatchObject({ token: "token-2" });
    expect(await again.next("subscribe")).toMatchObject({ since: { epoch: "first", position: 1 } });
    expect(tokens()).toBe(2);
  });

  it("is renewed, and the client subscribes again to a refused channel, because permissions may have been added", async () => {
    const server = await serve();
    let allowed = false;
    server.script.subscribe = (connection, message) => {
      if (allowed) server.subscribe(connection, message);
      else
        connection.send({
          ...{ type: "subscription_result", channel: message.channel, success: false, id: message.id },
          ...{ error: "no", code: ReplyCode.permissionDenied },
        });
    };
    const { client } = connect(server.url);
    const followed = follow(client);
    await until(() => followed.subscription.state.status === "refused");
    expect(followed.subscription.state).toEqual({ status: "refused", code: ReplyCode.permissionDenied, error: "no" });
    allowed = true;
    server.connections[0]?.send({ type: "token_expiring", expires_in: 60 });
    await untilLive(followed);
  });

  it("is renewed, and a channel that the new permissions exclude is marked as refused", async () => {
    const server = await serve();
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    server.connections[0]?.send({
      ...{ type: "unsubscription_result", channel: "dashboard", success: true },
      ...{ error: "no longer", code: ReplyCode.permissionDenied },
    });
    await until(() => followed.subscription.state.status === "refused");
    expect(followed.states).toEqual(["snapshot", "live", "refused"]);
  });
});
