import type { Logger } from "pino";
import { type Alert, linkSchema } from "../../contract/events.ts";
import { isId } from "../../contract/ids.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { TakeOver } from "../../platform/publications.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Publish } from "../broker-link/publish.ts";
import { dataOf } from "../journal/entry-body.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";
import { addBoot } from "./boot-history.ts";
import { startWatcher, type Watcher } from "./watcher.ts";
import type { WatcherRules } from "./watcher-rules.ts";

const DUPLICATE_CLIENT_ALERT = "duplicate-client-id";
/** Take-overs within {@link WINDOW_MS} that raise the alert. A flapping link may cause fewer take-overs. */
const TAKE_OVERS_TO_ALERT = 3;
const WINDOW_MS = 60_000;
/** The alert is cleared after this time without a take-over by another device. */
const QUIET_MS = 120_000;
/**
 * If two boots alternate, this time replaces {@link WINDOW_MS} and {@link QUIET_MS}: each device may wait five minutes
 * before it reconnects.
 */
const ALTERNATING_MS = 15 * 60_000;
const CHECK_INTERVAL_MS = 1000;
/** The most client ids, and the most cameras, that are watched. The least recent one is dropped first. */
const MAX_WATCHED = 10_000;

interface Boots {
  history: readonly string[];
  /** When the camera last returned to an earlier boot, milliseconds since 1970. */
  returnedAt: number | undefined;
}

interface DuplicateDevicesOptions {
  link: Pick<BrokerLink, "onTakeOver">;
  journal: Pick<Journal, "follow" | "snapshot" | "state">;
  tree: TopicTree;
  publish: Publish;
  logger: Logger;
}

/**
 * Raises an alert when two devices use one client id. Such devices take over each other's connection without end, which
 * would otherwise look like a flapping link.
 *
 * A camera with a flapping link also takes over a connection: its own earlier one, which the broker still holds. Birth
 * messages distinguish the two cases, because each names the camera's boot. One device never returns to an earlier
 * boot, two devices alternate. Without birth messages, only the take-overs are counted.
 */
export function startDuplicateDevices(options: DuplicateDevicesOptions): Watcher {
  const rules = new DuplicateDeviceRules(options);
  return startWatcher(rules, {
    journal: options.journal,
    checkIntervalMs: CHECK_INTERVAL_MS,
    unsubscribe: [options.link.onTakeOver((takeOver) => rules.addTakeOver(takeOver))],
  });
}

class DuplicateDeviceRules implements WatcherRules {
  readonly #options: DuplicateDevicesOptions;
  /** The times of the last take-overs by client id, the most recent client id last. */
  readonly #takeOvers = new Map<string, number[]>();
  /** The time of the last take-over, by camera with a raised alert. */
  readonly #raised = new Map<string, number>();
  readonly #boots = new Map<string, Boots>();

  constructor(options: DuplicateDevicesOptions) {
    this.#options = options;
  }

  seed(retained: readonly StateEntry[]): void {
    for (const { topic: name } of retained) {
      const topic = this.#options.tree.parse(name);
      if (topic?.kind === "camera-alert" && topic.name === DUPLICATE_CLIENT_ALERT)
        this.#raised.set(topic.camera, Date.now());
    }
  }

  apply({ topic: name, camera, body }: Entry): void {
    if (camera === undefined || !name.endsWith("/link")) return;
    if (this.#options.tree.parse(name)?.kind !== "camera-link") return;
    const link = linkSchema.safeParse(dataOf({ body })).data;
    if (link?.status !== "online") return;
    const known = this.#boots.get(camera);
    const { history, isReturn } = addBoot(known?.history ?? [], link.session);
    setLast(this.#boots, camera, { history, returnedAt: isReturn ? Date.now() : known?.returnedAt });
  }

  addTakeOver({ clientId, identity }: TakeOver): void {
    const now = Date.now();
    const camera = cameraOf(identity);
    const windowMs = this.#alternates(camera, now) ? ALTERNATING_MS : WINDOW_MS;
    const times = [...(this.#takeOvers.get(clientId) ?? []), now].slice(-TAKE_OVERS_TO_ALERT);
    setLast(this.#takeOvers, clientId, times);
    const { journal, tree } = this.#options;
    const hasBirths = camera !== undefined && journal.state(tree.build({ kind: "camera-link", camera })) !== undefined;
    if (hasBirths && !this.#alternates(camera, now)) return;
    if (camera !== undefined && this.#raised.has(camera)) this.#raised.set(camera, now);
    else if (times.filter((at) => at > now - windowMs).length >= TAKE_OVERS_TO_ALERT) {
      this.#options.logger.warn({ clientId, identity, camera }, "two connections use one client id");
      if (camera !== undefined) this.#raise(camera, clientId, now);
    }
  }

  check(): void {
    const now = Date.now();
    for (const [clientId, times] of this.#takeOvers) {
      if ((times.at(-1) ?? 0) > now - ALTERNATING_MS) break;
      this.#takeOvers.delete(clientId);
    }
    for (const [camera, lastAt] of this.#raised) {
      const { returnedAt } = this.#boots.get(camera) ?? {};
      if (now >= (returnedAt === undefined ? lastAt + QUIET_MS : returnedAt + ALTERNATING_MS))
        this.#clear(camera, lastAt);
    }
  }

  #alternates(camera: string | undefined, now: number): boolean {
    const returnedAt = camera === undefined ? undefined : this.#boots.get(camera)?.returnedAt;
    return returnedAt !== undefined && returnedAt > now - ALTERNATING_MS;
  }

  #raise(camera: string, clientId: string, at: number): void {
    const { publish, logger } = this.#options;
    const shown = clientId.slice(0, 200);
    const alert: Alert = {
      alert: DUPLICATE_CLIENT_ALERT,
      severity: "warning",
      message: `Two devices connect with the client id "${shown}" and disconnect each other. Give each its own id.`,
    };
    this.#raised.set(camera, at);
    publish({ topic: topicOf(camera), event: "alert.raised", data: alert, retain: true }).catch((error) => {
      // The next take-over raises the alert again.
      this.#raised.delete(camera);
      logger.warn({ err: error, camera }, "alert not published");
    });
  }

  #clear(camera: string, lastAt: number): void {
    const { journal, tree, publish, logger } = this.#options;
    this.#raised.delete(camera);
    // The alert is already cleared, for example because the camera was removed.
    if (journal.state(tree.build(topicOf(camera))) === undefined) return;
    publish({ topic: topicOf(camera), event: "alert.cleared", data: null, retain: true }).catch((error) => {
      this.#raised.set(camera, lastAt);
      logger.warn({ err: error, camera }, "alert not cleared, retrying");
    });
  }
}

function topicOf(camera: string) {
  return { kind: "camera-alert", camera, name: DUPLICATE_CLIENT_ALERT } as const;
}

function cameraOf(identity: string): string | undefined {
  const camera = identity.startsWith("device:") ? identity.slice("device:".length) : "";
  return isId(camera) ? camera : undefined;
}

/** Sets a key as the last of the map, and removes the first key above {@link MAX_WATCHED}. */
function setLast<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (oldest !== undefined && map.size > MAX_WATCHED) map.delete(oldest);
}
