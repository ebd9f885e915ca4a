import { z } from "zod";
import { clockJumpSchema, presenceSchema } from "../../contract/events.ts";
import { counted } from "../../platform/counted.ts";
import { messageOf } from "../../platform/errors.ts";
import { jsonOf } from "../../platform/json.ts";
import { originAdvice } from "../../platform/origins.ts";
import { proxyAdvice } from "../../platform/untrusted-proxies.ts";
import { WRONG_KEY } from "../operator/operator-api.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const TIMEOUT_MS = 5_000;
/** With a larger difference between two clocks, a token of one machine is invalid on the other machine. */
const SKEW_MS = 60_000;
const SMALL_SKEW_MS = 2_000;

const readySchema = z.object({
  ...{ reason: z.string().optional(), clock: clockJumpSchema.optional() },
  differences: z.array(z.string()).default([]),
});
const healthSchema = z.object({ version: z.string(), timestamp: z.string() });
const cameraSchema = z.object({
  ...{ id: z.string(), presence: presenceSchema.optional() },
  alerts: z.record(z.string(), z.object({ severity: z.string(), message: z.string() })),
});
/** `next` is the path of the next page. */
const camerasSchema = z.object({ cameras: z.array(cameraSchema), next: z.string().optional() });
const devicesSchema = z.object({ devices: z.array(z.object({ id: z.string(), kind: z.string() })) });
const refusedDeviceSchema = z.object({
  ...{ id: z.string(), times: z.number(), address: z.string(), why: z.string(), last_refused: z.string() },
});
const seenSchema = z.array(z.object({ name: z.string(), times: z.number(), last_seen: z.string() })).default([]);
const accessSchema = z.object({ first_try: z.boolean(), untrusted_proxies: seenSchema, refused_origins: seenSchema });
const brokerSchema = z.object({
  droppedOfflineMessages: z.number(),
  refusedDevices: z.array(refusedDeviceSchema).default([]),
});
const outsideBrokerSchema = z.object({ lostSessions: z.number(), publishRefused: z.number() });
const statsSchema = z.object({
  node: z.object({
    access: accessSchema.optional(),
    journal: z.object({ trouble: z.string().optional(), lost: z.number().default(0) }),
    broker: brokerSchema.optional(),
    outside_broker: outsideBrokerSchema.optional(),
  }),
  cluster: z.object({ trouble: z.string().optional() }),
});

interface CheckServerOptions {
  url: string;
  /** Of this program. */
  version: string;
  /** @throws {OperatorApiError} there is no operator key */
  key: () => string;
  /** Milliseconds since 1970. */
  now: () => number;
}

export async function checkServer({ url, version, key, now }: CheckServerOptions): Promise<Finding[]> {
  const own = await Promise.all([checkReady(url), checkHealth(url, version, now)]);
  let bearer: string;
  try {
    bearer = key();
  } catch (error) {
    return [...own.flat(), warn("operator key", `${messageOf(error)}. Cameras and counters were not checked`)];
  }
  const { status } = await get(url, "/users", bearer);
  if (status === 401) return [...own.flat(), wrong("operator key", WRONG_KEY)];
  const known = await Promise.all([checkCameras(url, bearer), checkCounters(url, bearer)]);
  return [...own.flat(), ok("operator key", "the server accepts it"), ...known.flat()];
}

async function checkReady(url: string): Promise<Finding[]> {
  const { status, body } = await get(url, "/readyz");
  const { reason = `it answers ${status}`, clock, differences = [] } = readySchema.safeParse(body).data ?? {};
  const others = differences.map((difference) => warn("nodes", difference));
  if (status !== 200) return [wrong("server", `${url} is not ready: ${reason}. See its log`), ...others];
  return [ok("server", `${url} is ready`), ...(clock === undefined ? [] : [warn("clock", clock.message)]), ...others];
}

async function checkHealth(url: string, version: string, now: () => number): Promise<Finding[]> {
  const asked = now();
  const health = healthSchema.parse((await get(url, "/health")).body);
  const [answered, serverTime] = [now(), Date.parse(health.timestamp)];
  // The server read its clock between the request and the answer: a server time between the two shows no difference.
  const skewMs = serverTime < asked ? asked - serverTime : Math.max(0, serverTime - answered);
  const skew = `the clock of the server and of this machine differ by ${Math.round(skewMs / 1000)} s`;
  const advice = "synchronise both (timedatectl set-ntp true)";
  const other = `the server is ${health.version}, this program is ${version}: restart the server after an upgrade`;
  return [
    health.version === version ? ok("version", version) : warn("version", other),
    ...(skewMs > SKEW_MS ? [wrong("clock", `${skew}, so tokens are refused: ${advice}`)] : []),
    ...(skewMs > SMALL_SKEW_MS && skewMs <= SKEW_MS ? [warn("clock", `${skew}: ${advice}`)] : []),
  ];
}

const PRESENCE_ADVICE: Partial<Record<z.infer<typeof presenceSchema>["status"], string>> = {
  offline: "check its power and its network",
  stale: "it is connected but takes no pictures. Check the camera and its schedule",
  overslept: "it did not wake at the announced time. Check its power and its network",
  unknown: "the server has just started and waits for a message of the camera",
  never_seen: "it is registered but has never connected. Set CAMERA_ID, CAMERA_SECRET and BROKER_URL at the camera",
};

async function listCameras(url: string, key: string) {
  const all: z.infer<typeof camerasSchema>["cameras"] = [];
  for (let path: string | undefined = "/cameras"; path !== undefined; ) {
    const { cameras, next }: z.infer<typeof camerasSchema> = camerasSchema.parse((await get(url, path, key)).body);
    all.push(...cameras);
    path = next;
  }
  return all;
}

async function checkCameras(url: string, key: string): Promise<Finding[]> {
  const cameras = await listCameras(url, key);
  const { devices } = devicesSchema.parse((await get(url, "/devices", key)).body);
  const listed = new Set(cameras.map(({ id }) => id));
  const findings: Finding[] = [];
  for (const { id, presence, alerts } of cameras) {
    const advice = presence === undefined ? undefined : PRESENCE_ADVICE[presence.status];
    if (presence !== undefined && advice !== undefined)
      findings.push(warn(`camera ${id}`, `${presence.status} since ${presence.since}: ${advice}`));
    for (const [name, { severity, message }] of Object.entries(alerts))
      findings.push(warn(`camera ${id}`, `alert ${name} (${severity}): ${message}`));
  }
  const advice = "is registered but has never connected: set CAMERA_ID, CAMERA_SECRET and BROKER_URL at the camera";
  for (const { id, kind } of devices)
    if (kind === "camera" && !listed.has(id)) findings.push(warn(`camera ${id}`, advice));
  if (findings.length > 0) return findings;
  return [ok("cameras", cameras.length === 0 ? "there are none" : `${cameras.length} without a problem`)];
}

async function checkCounters(url: string, key: string): Promise<Finding[]> {
  const { node, cluster } = statsSchema.parse((await get(url, "/stats", key)).body);
  const dropped = node.broker?.droppedOfflineMessages ?? 0;
  const unavailableReason = node.journal.trouble ?? cluster.trouble;
  const { lost } = node.journal;
  const losses = `${counted(dropped, "message")} for disconnected clients ${dropped === 1 ? "was" : "were"} dropped, because they were too many or too old${lost > 0 ? ", or because Redis lost them" : ""}`;
  const advice =
    "let those clients reconnect sooner, or raise MAX_OFFLINE_MESSAGES, MAX_OFFLINE_BYTES and MAX_OFFLINE_LOG_BYTES";
  return [
    ...(node.broker?.refusedDevices ?? []).map(({ id, times, address, why, last_refused }) =>
      warn(`camera ${id}`, `refused ${counted(times, "time")}, last at ${last_refused} from ${address}: ${why}`),
    ),
    ...accessFindings(node.access),
    unavailableReason === undefined
      ? ok("journal", "it accepts events")
      : wrong("journal", `${unavailableReason}. The server acknowledges no event until this is fixed`),
    ...(lost === 0 ? [] : [warn("lost events", lostAdvice(lost))]),
    ...(dropped === 0 ? [] : [warn("MQTT queues", `${losses}: ${advice}`)]),
    ...outsideBrokerFindings(node.outside_broker),
  ];
}

function outsideBrokerFindings(stats: z.infer<typeof outsideBrokerSchema> | undefined): Finding[] {
  const { lostSessions = 0, publishRefused = 0 } = stats ?? {};
  const lost = `the broker has lost the server's session ${counted(lostSessions, "time")}, and events with it`;
  const refused = `the broker has refused ${counted(publishRefused, "publication")} of the server`;
  return [
    ...(lostSessions === 0 ? [] : [warn("MQTT_URL", `${lost}: let it keep sessions over restarts (docs/mqtt.md)`)]),
    ...(publishRefused === 0 ? [] : [warn("MQTT_URL", `${refused}: allow them in its rules (docs/mqtt.md)`)]),
  ];
}

function lostAdvice(lost: number): string {
  return (
    `Redis has lost ${counted(lost, "event")} that this node had acknowledged since its start, in a failover or a restart: ` +
    "set REDIS_WAIT_REPLICAS=1, and appendfsync always in Redis"
  );
}

function accessFindings(access: z.infer<typeof accessSchema> | undefined): Finding[] {
  if (access === undefined) return [];
  const { first_try, untrusted_proxies, refused_origins } = access;
  const open =
    "anybody on this machine gets one without a key: to end this, add an account or a camera, or set SIMULATOR=0";
  return [
    first_try ? warn("tokens", open) : ok("tokens", "they require a key or a password"),
    ...untrusted_proxies.map(({ name, times }) =>
      warn("TRUSTED_PROXIES", `${proxyAdvice(name)} (${counted(times, "time")})`),
    ),
    ...refused_origins.map(({ name, times }) =>
      warn("ALLOWED_ORIGINS", `${originAdvice(name)} (${counted(times, "time")})`),
    ),
  ];
}

async function get(url: string, path: string, key?: string): Promise<{ status: number; body: unknown }> {
  const answer = await fetch(new URL(path, url), {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...(key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } }),
  });
  return { status: answer.status, body: jsonOf(await answer.text()) };
}
