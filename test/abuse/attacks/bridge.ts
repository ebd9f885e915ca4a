import { topicTree } from "../../../contract/topics.ts";
import { FIRST_NUMBER, findNumber, readNumber } from "../../bench/load/event.ts";
import { LeanWebSocket } from "../../bench/load/web-socket.ts";
import type { Attack } from "../attack.ts";
import { RawMqtt } from "../raw-mqtt.ts";
import { OPERATOR_HEADERS, tokenOf } from "../server.ts";
import { openAbuser, publishInFlight } from "./payloads.ts";

const tree = topicTree();
const GATHER_TIMEOUT_MS = 30_000;

export const journalChannels: Attack = {
  name: "journal-channels",
  resource: "channels of the journal",
  method: "a token with broadcast:write publishes to 50,000 channels that nobody made",
  fills: true,
  async abuse(target) {
    const login = { clientId: "mallory", username: "mallory", password: tokenOf("mallory", "broadcast:write") };
    const { client } = await RawMqtt.open(target, login);
    const payload = Buffer.from("{}");
    await publishInFlight(client, 100, (index) =>
      index < 50_000
        ? { topic: tree.build({ kind: "channel-event", channel: `camera:never-${index}`, event: "x" }), payload }
        : undefined,
    );
  },
  async verdict({ target }) {
    const response = await fetch(`http://127.0.0.1:${target.httpPort}/devices`, {
      method: "POST",
      headers: OPERATOR_HEADERS,
      body: JSON.stringify({ id: "newcomer" }),
    });
    const { secret = "" }: { secret?: string } = await response.json();
    const { client } = await RawMqtt.open(target, {
      address: "127.0.0.1",
      clientId: "camera-newcomer",
      username: "newcomer",
      password: secret,
    });
    const topic = tree.build({ kind: "camera-event", camera: "newcomer", event: "capture.completed" });
    await publishInFlight(client, 1, (index) => (index < 1 ? { topic, payload: Buffer.from("{}") } : undefined));
    const accepted = !client.closed;
    client.end();
    return accepted ? undefined : "a new camera's publication is not acknowledged";
  },
};

export const dashboardRetention: Attack = {
  name: "dashboard-retention",
  resource: "places in the dashboard channel's retention",
  method: "a camera publishes small events as fast as it is read, 500 in flight",
  async abuse(target) {
    const { client } = await openAbuser(target, "camera-abuser");
    const topic = tree.build({ kind: "camera-event", camera: "abuser", event: "capture.progress" });
    await publishInFlight(client, 500, (index) => ({ topic, payload: Buffer.from(`{"n":${index}}`) }));
  },
  async verdict({ target }, { epoch, position, events }) {
    const seen = new Set<number>();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the history was not whole in time")), GATHER_TIMEOUT_MS);
      const end = (error?: Error) => {
        clearTimeout(timer);
        socket.destroy();
        if (error === undefined) resolve();
        else reject(error);
      };
      const socket: LeanWebSocket = new LeanWebSocket({
        port: target.httpPort,
        path: "/ws",
        onText: (buffer, start, stop) => {
          const at = findNumber(buffer, start, stop);
          if (at !== -1) seen.add(readNumber(buffer, at));
          const head = buffer.toString("latin1", start, Math.min(stop, start + 40));
          if (head.startsWith('{"type":"auth_success"'))
            socket.send(JSON.stringify({ type: "subscribe", channel: "dashboard", since: { epoch, position } }));
          else if (head.startsWith('{"type":"caught_up"')) end();
        },
        onClose: (reason) => end(new Error(reason)),
      });
      socket
        .open()
        .then(() => socket.send(JSON.stringify({ type: "auth", token: tokenOf("reader", "dashboard:read") })), end);
    });
    const missing = Array.from({ length: events }, (_, index) => FIRST_NUMBER + index).filter(
      (number) => !seen.has(number),
    );
    return missing.length === 0
      ? undefined
      : `${missing.length} of ${events} events of the honest camera are no longer kept`;
  },
};

export const commands: Attack = {
  name: "commands",
  resource: "the command queue",
  method: "a token with camera:control publishes reboot commands for its camera, 20 in flight",
  async abuse(target) {
    const login = { clientId: "mallory", username: "mallory", password: tokenOf("mallory", "camera:control") };
    const { client } = await RawMqtt.open(target, login);
    const topic = tree.build({ kind: "camera-command", camera: "abuser", command: "reboot" });
    await publishInFlight(client, 20, (index) => {
      const issuedAt = new Date().toISOString();
      const command = {
        id: `c-${issuedAt}-${index}`,
        name: "reboot",
        args: {},
        issued_at: issuedAt,
        expires_at: "9999-01-01T00:00:00Z",
      };
      return { topic, payload: Buffer.from(JSON.stringify(command)) };
    });
  },
};
