import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { topicTree } from "../../../contract/topics.ts";
import type { Attack } from "../attack.ts";
import { RawMqtt } from "../raw-mqtt.ts";
import { tokenOf } from "../server.ts";
import { openAbuser, publishInFlight } from "./payloads.ts";

const tree = topicTree();
/** The user id of a failed login, which must stay in the audit log. */
const BURGLAR = "burglar-of-the-abuse-table";
/** The most log lines that one abuser may cause in a run of some seconds. */
const MAX_LINES = 200;

export const auditLines: Attack = {
  name: "audit-lines",
  resource: "lines of the audit log",
  method: "a failed login, then a token with broadcast:write publishes broadcasts by MQTT, 100 in flight",
  async prepare({ httpPort }) {
    await fetch(`http://127.0.0.1:${httpPort}/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ user_id: BURGLAR, password: "wrong password" }),
    });
  },
  async abuse(target) {
    const login = { clientId: "mallory", username: "mallory", password: tokenOf("mallory", "broadcast:write") };
    const { client } = await RawMqtt.open(target, login);
    const topic = tree.build({ kind: "channel-event", channel: "jobs", event: "job.progress" });
    await publishInFlight(client, 100, () => ({ topic, payload: Buffer.from("{}") }));
  },
  async verdict({ target }) {
    const files = readdirSync(target.dataPath, { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && entry.name.includes("audit"),
    );
    const text = files.map((file) => readFileSync(join(file.parentPath, file.name), "utf8")).join("\n");
    return text.includes(BURGLAR) ? undefined : "the failed login is no longer in the audit log";
  },
};

export const logLines: Attack = {
  name: "log-lines",
  resource: "lines of the log",
  method: "a camera publishes replies to commands that nobody gave, 100 in flight",
  async abuse(target) {
    const { client } = await openAbuser(target, "camera-abuser");
    const topic = tree.build({ kind: "camera-reply", camera: "abuser", command: "reboot" });
    await publishInFlight(client, 100, (index) => ({
      topic,
      payload: Buffer.from(
        JSON.stringify({ v: 1, event: "reply", data: { command_id: `stray-${index}`, status: "succeeded" } }),
      ),
    }));
  },
  async verdict({ log }) {
    const lines = log().split("\n").length;
    return lines <= MAX_LINES ? undefined : `${lines} lines in the log`;
  },
};
