import type { Logger } from "pino";
import { DASHBOARD } from "../../contract/channels.ts";
import { type Alert, linkSchema } from "../../contract/events.ts";
import { isId } from "../../contract/ids.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Publish } from "../broker-link/publish.ts";
import { dataOf } from "../journal/entry-body.ts";
import type { Entry, Journal } from "../journal/journal.ts";
import { afterBirth } from "./boots.ts";

export const DUPLICATE_CLIENT_ALERT = "duplicate-client-id";
/** Fewer are a link that flaps; so many within {@link WINDOW_MS} may be two devices that throw each other out. */
export const TAKE_OVERS_TO_ALERT = 3;
const WINDOW_MS = 60_000;
/** Without a take-over by another device for so long, the alert is cleared. */
const QUIET_MS = 120_000;
/**
 * The same two for devices whose births show that they take turns. Each waits longer and longer, up to five minutes,
 * before it takes the link back.
 */
const TURNS_MS = 15 * 60_000;
const TICK_MS = 1000;
/** Client ids, and cameras, that are watched; the one heard of longest ago makes room. */
const MAX_WATCHED = 10_000;

/** The names of a camera's last boots, by its births. */
interface Boots {
  /** The newest last. */
  sessions: readonly string[];
  /** When one of them was followed by another and then came back, milliseconds since 1970. */
  cameBackAt: number | undefined;
}

export interface DuplicateDevicesOptions {
  link: Pick<BrokerLink, "onTakeOver">;
  journal: Pick<Journal, "follow" | "snapshot" | "state">;
  tree: TopicTree;
  publish: Publish;
  logger: Logger;
}

/**
 * Two devices with one client id take the session from each other for ever. Names that, instead of showing a flapping camera.
 *
 * A camera whose link flaps takes over as well: its own connection, which the broker believes to be there. Each birth names
 * the boot, and that tells them apart: one device never goes back to an earlier boot, two take turns. Of a client that says
 * no births only the take-overs can be counted.
 */
export function watchDuplicateDevices(options: DuplicateDevicesOptions): { stop(): void } {
  const { link, journal, tree, publish, logger } = options;
  /** The moments of the last take-overs by client id, the most recently taken over last. */
  const recent = new Map<string, number[]>();
  /** The cameras whose alert is raised, with the moment of the last take-over. */
  const raised = new Map<string, number>();
  const boots = new Map<string, Boots>();

  for (const { topic: name } of journal.snapshot(DASHBOARD)) {
    const topic = tree.parse(name);
    if (topic?.kind === "camera-alert" && topic.name === DUPLICATE_CLIENT_ALERT) raised.set(topic.camera, Date.now());
  }

  function takenOver(clientId: string, identity: string): void {
    const now = Date.now();
    const camera = cameraOf(identity);
    const windowMs = takesTurns(camera, now) ? TURNS_MS : WINDOW_MS;
    const last = [...(recent.get(clientId) ?? []), now].slice(-TAKE_OVERS_TO_ALERT);
    putLast(recent, clientId, last);
    const moments = last.filter((at) => at > now - windowMs);
    if (camera !== undefined && isOneDevice(camera, now)) return;
    if (camera !== undefined && raised.has(camera)) raised.set(camera, now);
    else if (moments.length >= TAKE_OVERS_TO_ALERT) {
      logger.warn({ clientId, identity }, "one client id is used by two connections");
      if (camera !== undefined) raise(camera, clientId, now);
    }
  }

  function isOneDevice(camera: string, now: number): boolean {
    if (journal.state(tree.build({ kind: "camera-link", camera })) === undefined) return false;
    return !takesTurns(camera, now);
  }

  /** Whether one of its boots came back after another, lately. */
  function takesTurns(camera: string | undefined, now: number): boolean {
    const cameBackAt = camera === undefined ? undefined : boots.get(camera)?.cameBackAt;
    return cameBackAt !== undefined && cameBackAt > now - TURNS_MS;
  }

  function born({ topic: name, camera, body }: Entry): void {
    if (camera === undefined || tree.parse(name)?.kind !== "camera-link") return;
    const link = linkSchema.safeParse(dataOf({ body })).data;
    if (link?.status !== "online") return;
    const { sessions: before = [], cameBackAt } = boots.get(camera) ?? {};
    const { boots: sessions, cameBack } = afterBirth(before, link.session);
    putLast(boots, camera, { sessions, cameBackAt: cameBack ? Date.now() : cameBackAt });
  }

  function raise(camera: string, clientId: string, at: number): void {
    const shown = clientId.slice(0, 200);
    const alert: Alert = {
      alert: DUPLICATE_CLIENT_ALERT,
      severity: "warning",
      message: `Two devices connect with the client id "${shown}" and throw each other out. Give each its own id.`,
    };
    raised.set(camera, at);
    publish({ topic: topicOf(camera), event: "alert.raised", data: alert, retain: true }).catch((error) => {
      // The next take-over raises it again.
      raised.delete(camera);
      logger.warn({ err: error, camera }, "alert not published");
    });
  }

  function tick(): void {
    const now = Date.now();
    for (const [clientId, moments] of recent) {
      if ((moments.at(-1) ?? 0) > now - TURNS_MS) break;
      recent.delete(clientId);
    }
    for (const [camera, lastAt] of raised) {
      const { cameBackAt } = boots.get(camera) ?? {};
      if (now < (cameBackAt === undefined ? lastAt + QUIET_MS : cameBackAt + TURNS_MS)) continue;
      raised.delete(camera);
      // Somebody else has: with its camera, say.
      if (journal.state(tree.build(topicOf(camera))) === undefined) continue;
      publish({ topic: topicOf(camera), event: "alert.cleared", data: null, retain: true }).catch((error) => {
        raised.set(camera, lastAt);
        logger.warn({ err: error, camera }, "alert not cleared, trying again");
      });
    }
  }

  const unlisten = link.onTakeOver(({ clientId, identity }) => takenOver(clientId, identity));
  const unfollow = journal.follow((entries) => {
    for (const entry of entries) if (entry.topic.endsWith("/link")) born(entry);
  });
  const timer = setInterval(tick, TICK_MS);
  timer.unref();
  return {
    stop() {
      clearInterval(timer);
      unlisten();
      unfollow();
    },
  };
}

function topicOf(camera: string) {
  return { kind: "camera-alert", camera, name: DUPLICATE_CLIENT_ALERT } as const;
}

function cameraOf(identity: string): string | undefined {
  const camera = identity.startsWith("device:") ? identity.slice("device:".length) : "";
  return isId(camera) ? camera : undefined;
}

/** Puts it last, and lets go what was put there longest ago. */
function putLast<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
  for (const [oldest] of map) {
    if (map.size <= MAX_WATCHED) break;
    map.delete(oldest);
  }
}
