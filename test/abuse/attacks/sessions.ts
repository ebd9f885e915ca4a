import { setTimeout as sleep } from "node:timers/promises";
import type { Attack } from "../attack.ts";
import { RawMqtt } from "../raw-mqtt.ts";
import { type Target, tokenOf } from "../server.ts";

function visit(target: Target, clientId: string, clean: boolean, permissions: readonly string[] = []) {
  const password = tokenOf("mallory", ...permissions);
  return RawMqtt.open(target, { clientId, username: "mallory", password, clean });
}

export const clientIds: Attack = {
  name: "client-ids",
  resource: "the client id of a camera",
  method: "a token without permissions connects as camera-honest with clean=false, and leaves; then ten times a second",
  async prepare(target) {
    const { client } = await visit(target, "camera-honest", false);
    client.end();
  },
  async abuse(target) {
    for (;;) {
      const { client } = await visit(target, "camera-honest", false);
      client.end();
      await sleep(100);
    }
  },
};

export const storedSessions: Attack = {
  name: "stored-sessions",
  resource: "stored MQTT sessions",
  method: "one token opens sessions with clean=false, each under a new client id, up to 10,000",
  fills: true,
  async abuse(target) {
    for (let index = 0; index < 10_000; index++) {
      const { client } = await visit(target, `mallory-${index}`, false);
      client.end();
    }
  },
  async verdict({ target }) {
    const password = tokenOf("integrator", "dashboard:read");
    const { client, code } = await RawMqtt.open(target, {
      address: "127.0.0.1",
      clientId: "integrator",
      username: "i",
      password,
      clean: false,
    });
    client.end();
    return code === 0 ? undefined : `another user's session is refused with CONNACK ${code}`;
  },
};

export const wrongSecrets: Attack = {
  name: "wrong-secrets",
  resource: "the answer to CONNECT",
  method: "CONNECTs for camera honest with wrong secrets, one after the other on 20 connections at once",
  async abuse(target) {
    const guess = async () => {
      for (let index = 0; ; index++) {
        const login = { clientId: "camera-honest", username: "honest", password: `guess ${index}` };
        const { client, code } = await RawMqtt.open(target, login);
        client.end();
        if (code === -1) await sleep(50);
      }
    };
    await Promise.all(Array.from({ length: 20 }, guess));
  },
};
