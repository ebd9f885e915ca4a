import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { LeanWebSocket } from "../../bench/load/web-socket.ts";
import { ABUSER_ADDRESS, type Attack } from "../attack.ts";
import { type Target, tokenOf } from "../server.ts";
import { openAbuser, publishInFlight, stateTopic } from "./payloads.ts";

const agent = new Agent({ keepAlive: true, maxSockets: 20 });

function ask(
  target: Target,
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: string,
): Promise<number> {
  return new Promise((resolve) => {
    const options = {
      host: "127.0.0.1",
      port: target.httpPort,
      localAddress: ABUSER_ADDRESS,
      agent,
      method,
      path,
      headers,
    };
    const sending = request(options, (response) => {
      response.resume();
      response.on("close", () => resolve(response.statusCode ?? 0));
    });
    sending.on("error", () => resolve(0));
    sending.end(body);
  });
}

/** Sends requests on several connections. Each request waits for the answer to the previous request. */
async function askAlways(connections: number, one: () => Promise<number>): Promise<void> {
  const again = async () => {
    for (;;) if ((await one()) === 0) await sleep(20);
  };
  await Promise.all(Array.from({ length: connections }, again));
}

export const cameraList: Attack = {
  name: "camera-list",
  resource: "the event loop: GET /cameras",
  method: "a camera has as many large states as it may; four connections ask for the list again and again",
  async prepare(target) {
    const { client } = await openAbuser(target, "camera-abuser");
    const payload = Buffer.from(JSON.stringify({ v: 1, event: "state", data: { pad: "x".repeat(250_000) } }));
    await publishInFlight(client, 4, (index) =>
      index < 320 ? { topic: stateTopic(index), payload, retain: true } : undefined,
    );
    client.end();
  },
  async abuse(target) {
    const headers = { authorization: `Bearer ${tokenOf("mallory", "dashboard:read")}` };
    await askAlways(4, () => ask(target, "GET", "/cameras", headers));
  },
};

export const wrongLogins: Attack = {
  name: "wrong-logins",
  resource: "the checking of passwords",
  method: "wrong passwords for ever new users on 20 connections",
  async abuse(target) {
    let count = 0;
    const headers = { "content-type": "application/json" };
    await askAlways(20, () =>
      ask(
        target,
        "POST",
        "/auth/login",
        headers,
        JSON.stringify({ user_id: `user-${count++}`, password: "wrong password" }),
      ),
    );
  },
};

export const httpRequests: Attack = {
  name: "http-requests",
  resource: "the event loop: HTTP requests",
  method: "requests for a route that is not there, on 20 connections",
  async abuse(target) {
    await askAlways(20, () => ask(target, "GET", "/nothing", {}));
  },
};

export const socketRequests: Attack = {
  name: "socket-requests",
  resource: "the event loop: WebSocket requests",
  method: "five dashboards of one user subscribe and unsubscribe as fast as they can, and connect again when closed",
  async abuse(target) {
    const storm = async () => {
      for (;;) {
        let flooding: NodeJS.Timeout | undefined;
        await new Promise<void>((resolve) => {
          const socket: LeanWebSocket = new LeanWebSocket({
            port: target.httpPort,
            path: "/ws",
            localAddress: ABUSER_ADDRESS,
            onText: (buffer, start, end) => {
              if (!buffer.toString("latin1", start, Math.min(end, start + 30)).startsWith('{"type":"auth_success"'))
                return;
              flooding = setInterval(() => {
                for (let index = 0; index < 50; index++)
                  for (const type of ["subscribe", "unsubscribe"])
                    socket.send(JSON.stringify({ type, channel: "dashboard" }));
              }, 1);
            },
            onClose: () => resolve(),
          });
          socket.open().then(
            () => socket.send(JSON.stringify({ type: "auth", token: tokenOf("mallory", "dashboard:read") })),
            () => resolve(),
          );
        });
        clearInterval(flooding);
        await sleep(50);
      }
    };
    await Promise.all(Array.from({ length: 5 }, storm));
  },
};
