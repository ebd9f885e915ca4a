import { z } from "zod";
import { clockJumpSchema, presenceSchema } from "../../contract/events.ts";
import { originAdvice } from "../../platform/origins.ts";
import { proxyAdvice } from "../../platform/untrusted-proxies.ts";
import { WRONG_KEY } from "../operator/operator-api.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const TIMEOUT_MS = 5_000;
/** From where on tokens of one machine are not good at the other. */
const SKEW_MS = 60_000;
const SMALL_SKEW_MS = 2_000;

const readySchema = z.object({
  reason: z.string().optional(),
  clock: clockJumpSchema.optional(),
});
const healthSchema = z.object({ version: z.string(), timestamp: z.string() });
const camerasSchema = z.object({
  cameras: z.array(
    z.object({
      id: z.string(),
      presence: presenceSchema.optional(),
      alerts: z.record(z.string(), z.object({ severity: z.string(), message: z.string() })),
    }),
  ),
  /** The path of the next page. */
  next: z.string().optional(),
});
const devicesSchema = z.object({ devices: z.array(z.object({ id: z.string(), kind: z.string() })) });
const refusedDevicesSchema = z
  .array(
    z.object({ id: z.string(), times: z.number(), address: z.string(), why: z.string(), last_refused: z.string() }),
  )
  .default([]);
const seenSchema = z.array(z.object({ name: z.string(), times: z.number(), last_seen: z.string() })).default([]);
const accessSchema = z.object({
  first_try: z.boolean(),
  untrusted_proxies: seenSchema,
  refused_origins: seenSchema,
});
const statsSchema = z.object({
  node: z.object({
    access: accessSchema.optional(),
    journal: z.object({ trouble: z.string().optional() }),
    broker: z.object({ droppedOfflineMessages: z.number(), refusedDevices: refusedDevicesSchema }).optional(),
  }),
  cluster: z.object({ trouble: z.string().optional() }),
});

export interface CheckServerOptions {
  url: string;
  /** Of this program. */
  version: string;
  /** @throws {OperatorApiError} there is none */
  key: () => string;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** What a server that answers says of itself and of what it knows. */
export async function checkServer({ url, version, key, now }: CheckServerOptions): Promise<Finding[]> {
  const ofItself = await Promise.all([checkReady(url), checkHealth(url, version, now)]);
  let bearer: string;
  try {
    bearer = key();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [...ofItself.flat(), warn("operator key", `${why}; cameras and figures were not looked at`)];
  }
  const { status } = await get(url, "/users", bearer);
  if (status === 401) {
    return [...ofItself.flat(), wrong("operator key", WRONG_KEY)];
  }
  const known = await Promise.all([checkCameras(url, bearer), checkFigures(url, bearer)]);
  return [...ofItself.flat(), ok("operator key", "the server takes it"), ...known.flat()];
}

async function checkReady(url: string): Promise<Finding[]> {
  const { status, body } = await get(url, "/readyz");
  const { reason = `it answers ${status}`, clock } = readySchema.safeParse(body).data ?? {};
  if (status !== 200) return [wrong("server", `${url} is not ready, ${reason}: see to that, and to its log`)];
  return [ok("server", `${url} is ready`), ...(clock === undefined ? [] : [warn("clock", clock.message)])];
}

async function checkHealth(url: string, version: string, now: () => number): Promise<Finding[]> {
  const asked = now();
  const health = healthSchema.parse((await get(url, "/health")).body);
  const [answered, theirs] = [now(), Date.parse(health.timestamp)];
  // It looked at its clock at some moment between.
  const skewMs = theirs < asked ? asked - theirs : Math.max(0, theirs - answered);
  const skew = `the server's clock and this one are ${Math.round(skewMs / 1000)} s apart`;
  const advice = "have both synchronised (timedatectl set-ntp true)";
  return [
    health.version === version
      ? ok("version", version)
      : warn("version", `the server is ${health.version}, this is ${version}: restart the server after an upgrade`),
    ...(skewMs > SKEW_MS ? [wrong("clock", `${skew}, so tokens are refused: ${advice}`)] : []),
    ...(skewMs > SMALL_SKEW_MS && skewMs <= SKEW_MS ? [warn("clock", `${skew}: ${advice}`)] : []),
  ];
}

const PRESENCE_ADVICE: Partial<Record<z.infer<typeof presenceSchema>["status"], string>> = {
  offline: "look at its power and its link",
  stale: "it is connected but takes no pictures, look at the camera and its schedule",
  overslept: "it did not wake when it said, look at its power and its link",
  unknown: "the server has just started and waits for it",
  never_seen: "it is registered but has never connected, set CAMERA_ID, CAMERA_SECRET and BROKER_URL at the camera",
};

/** All pages of the list. */
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
  const heard = new Set(cameras.map(({ id }) => id));
  const silent = devices.filter(({ id, kind }) => kind === "camera" && !heard.has(id));
  const findings: Finding[] = [];
  for (const { id, presence, alerts } of cameras) {
    const advice = presence === undefined ? undefined : PRESENCE_ADVICE[presence.status];
    if (presence !== undefined && advice !== undefined)
      findings.push(warn(`camera ${id}`, `${presence.status} since ${presence.since}: ${advice}`));
    for (const [name, { severity, message }] of Object.entries(alerts))
      findings.push(warn(`camera ${id}`, `alert ${name} (${severity}) stands: ${message}`));
  }
  for (const { id } of silent)
    findings.push(
      warn(`camera ${id}`, "was let in but never heard of: set CAMERA_ID, CAMERA_SECRET and BROKER_URL at the camera"),
    );
  const all = cameras.length === 1 ? "the only one is" : `all ${cameras.length} are`;
  return findings.length > 0 ? findings : [ok("cameras", cameras.length === 0 ? "there are none" : `${all} well`)];
}

async function checkFigures(url: string, key: string): Promise<Finding[]> {
  const { node, cluster } = statsSchema.parse((await get(url, "/stats", key)).body);
  const dropped = node.broker?.droppedOfflineMessages ?? 0;
  const trouble = node.journal.trouble ?? cluster.trouble;
  return [
    ...(node.broker?.refusedDevices ?? []).map(({ id, times, address, why, last_refused }) =>
      warn(`camera ${id}`, `refused ${times} times, last at ${last_refused} from ${address}: ${why}`),
    ),
    ...accessFindings(node.access),
    trouble === undefined
      ? ok("journal", "takes events")
      : wrong("journal", `${trouble}: nothing is acknowledged until that is mended`),
    ...(dropped === 0
      ? []
      : [
          warn(
            "MQTT queues",
            `${dropped} messages were dropped, as clients that were away had too many waiting: ` +
              "let them come back sooner, or raise MAX_OFFLINE_MESSAGES and MAX_OFFLINE_BYTES",
          ),
        ]),
  ];
}

/** What is open, and who comes by a way that is not set up. */
function accessFindings(access: z.infer<typeof accessSchema> | undefined): Finding[] {
  if (access === undefined) return [];
  const { first_try, untrusted_proxies, refused_origins } = access;
  return [
    first_try
      ? warn("tokens", "are given without a key now: add an account or a camera, or set SIMULATOR=0, to end that")
      : ok("tokens", "are given to nobody without a key or a password"),
    ...untrusted_proxies.map(({ name, times }) => warn("TRUSTED_PROXIES", `${proxyAdvice(name)} (${times} times)`)),
    ...refused_origins.map(({ name, times }) => warn("ALLOWED_ORIGINS", `${originAdvice(name)} (${times} times)`)),
  ];
}

async function get(url: string, path: string, key?: string): Promise<{ status: number; body: unknown }> {
  const answer = await fetch(new URL(path, url), {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...(key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } }),
  });
  const text = await answer.text();
  try {
    return { status: answer.status, body: JSON.parse(text) };
  } catch {
    return { status: answer.status, body: undefined };
  }
}
