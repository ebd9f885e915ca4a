import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import { cameraChannel } from "../../../contract/channels.ts";
import { ReplyCode } from "../../../contract/codes.ts";
import { FINAL_COMMAND_STATUSES } from "../../../contract/commands.ts";
import { DESIRED_NAMES, type DesiredName, desiredStateSchema } from "../../../contract/desired.ts";
import { DESIRED_STATE, PRESENCE_STATE, type TopicTree } from "../../../contract/topics.ts";
import { CachedCollection } from "../../auth/cached-collection.ts";
import type { DeviceStore } from "../../auth/devices.ts";
import { type BackendEvent, type Publish, publishFor } from "../../broker-link/publish.ts";
import type { Cluster, Documents } from "../../cluster/cluster.ts";
import { documentsFor, runAsSingleton, type Singleton } from "../../cluster/singleton.ts";
import type { CommandRunner } from "../../commands/command-relay.ts";
import type { CommandUpdate } from "../../commands/pending-commands.ts";
import { dataOf, endOf } from "../../journal/entry-body.ts";
import type { Entry, Journal } from "../../journal/journal.ts";
import { linkIn } from "../camera-messages.ts";
import { PublishQueue } from "../publish-queue.ts";
import { publishedPresence } from "../published-presence.ts";
import { startWatcher, type Watcher } from "../watcher.ts";
import type { WatcherRules } from "../watcher-rules.ts";
import {
  DESIRED,
  DESIRED_COMMAND,
  type DesiredDocument,
  type DesiredPart,
  desiredDocumentSchema,
  noteOutcome,
} from "./desired-store.ts";
import { agrees, viewOf } from "./desired-view.ts";

interface DesiredOptions {
  journal: Journal;
  tree: TopicTree;
  publish: Publish;
  documents: Documents;
  devices: Pick<DeviceStore, "get">;
  /** Sends a command to a camera. */
  run: CommandRunner["run"];
  /** See {@link SETTLE_MS}. */
  settleMs?: number;
  logger: Logger;
}

/** A camera reports what it has after each connect. Nothing is compared before this time, milliseconds. */
const SETTLE_MS = 3_000;
const CHECK_INTERVAL_MS = 1_000;
/** Seconds that a command for a desired state waits. */
const EXPIRES_IN = 60;
/** The pause after a command without a known outcome, and after the last sign of a command under way, milliseconds. */
const RETRY_MS = 75_000;
/** The pause after a command that this server has not sent, milliseconds. */
const NOT_SENT_RETRY_MS = 10_000;

/** On one node of the cluster at a time: brings each camera to the state that people want it to have. */
export function startDesiredStates(
  options: Omit<DesiredOptions, "documents"> & { cluster: Pick<Cluster, "leases" | "documents"> },
): Singleton {
  const { cluster, publish, logger } = options;
  return runAsSingleton({
    ...{ leases: cluster.leases, name: "desired-states", logger },
    begin: (lease) =>
      watchDesiredStates({
        ...options,
        publish: publishFor(lease, publish),
        documents: documentsFor(lease, cluster.documents),
      }),
  });
}

/** @throws {StoreUnavailableError} */
export async function watchDesiredStates(options: DesiredOptions): Promise<Watcher> {
  const { documents, journal, logger } = options;
  const collection = await CachedCollection.open({
    ...{ documents, collection: DESIRED, schema: desiredDocumentSchema, logger },
  });
  const rules = new DesiredRules(options, collection);
  const unsubscribe = [collection.onChange((cameras) => rules.reviewAll(cameras)), () => collection.stop()];
  return startWatcher(rules, { journal, checkIntervalMs: CHECK_INTERVAL_MS, unsubscribe });
}

/**
 * A version goes to a camera that is connected and reports something else:
 *
 * - once, until the camera confirms it, after each new version;
 * - again after a birth, if the camera then reports something else: its memory may have been replaced;
 * - after a refusal only in the camera's next session.
 *
 * A command whose outcome is unknown is repeated with the same id, so that the camera executes it once.
 */
class DesiredRules implements WatcherRules {
  readonly #options: DesiredOptions;
  readonly #collection: CachedCollection<DesiredDocument>;
  readonly #queue: PublishQueue;
  /** Cameras that have just connected, with the time when their reports are compared. */
  readonly #settling = new Map<string, number>();
  /** Since when a part differs, by camera and name. Milliseconds since 1970. */
  readonly #differsSince = new Map<string, number>();
  /** Parts that are not sent before this time, by camera and name: a command is under way, or has failed. */
  readonly #waitUntil = new Map<string, number>();
  /** The ids of the commands whose outcome will be known. */
  readonly #running = new Set<string>();
  #isStopped = false;

  constructor(options: DesiredOptions, collection: CachedCollection<DesiredDocument>) {
    this.#options = options;
    this.#collection = collection;
    this.#queue = new PublishQueue(options);
  }

  seed(): void {
    const { journal, devices, documents, logger } = this.#options;
    for (const camera of [...this.#collection.keys()]) {
      const isKnown = devices.get(camera) !== undefined || journal.snapshot(cameraChannel(camera)).length > 0;
      if (isKnown) this.#review(camera);
      // The camera was removed while nobody watched.
      else void documents.delete(DESIRED, camera).catch((err: unknown) => logger.debug({ err, camera }, "not removed"));
    }
  }

  apply(entry: Entry): void {
    const { camera } = entry;
    if (camera === undefined || this.#collection.get(camera) === undefined) return;
    const topic = this.#options.tree.parse(entry.topic);
    if (topic?.kind === "camera-link" && linkIn(entry)?.status === "online") {
      this.#settling.set(camera, Date.now() + (this.#options.settleMs ?? SETTLE_MS));
      // A command that failed over the last connection is sent again over this one.
      for (const name of DESIRED_NAMES) this.#waitUntil.delete(`${camera} ${name}`);
    } else if (topic?.kind === "camera-state") {
      if (topic.name === PRESENCE_STATE && entry.state === "clear") this.#forget(camera);
      else if (topic.name === PRESENCE_STATE || isDesiredName(topic.name)) this.#review(camera);
    }
  }

  check(): void {
    const now = Date.now();
    for (const [camera, at] of this.#settling) {
      if (at > now) continue;
      this.#settling.delete(camera);
      this.#review(camera, true);
    }
    for (const [key, until] of this.#waitUntil) {
      if (until > now) continue;
      this.#waitUntil.delete(key);
      this.#review(key.split(" ")[0] ?? "");
    }
  }

  async settle(): Promise<void> {
    this.#isStopped = true;
    await this.#queue.stop();
  }

  /** @param cameras undefined: all of them */
  reviewAll(cameras: readonly string[] | undefined): void {
    for (const camera of cameras ?? [...this.#collection.keys()]) this.#review(camera);
  }

  #review(camera: string, isBirth = false): void {
    const document = this.#collection.get(camera);
    if (document === undefined || this.#isStopped) return;
    const presence = publishedPresence(this.#options.journal, this.#options.tree, camera);
    const isReachable = presence?.status === "online" || presence?.status === "stale";
    for (const name of DESIRED_NAMES) {
      const part = document[name];
      if (part === undefined) continue;
      const agreed = agrees(name, part.value, this.#reported(camera, name));
      this.#noteDifference(camera, name, part, agreed ?? part.confirmed);
      if (agreed === true && (!part.confirmed || part.failure !== undefined))
        void this.#note(camera, name, part, { confirmed: true, failure: undefined });
      else if (agreed !== true && isReachable && this.#isDue(part, { isBirth, session: presence?.session, agreed }))
        this.#send(camera, name, part, presence?.session);
    }
    if (this.#publication(camera) !== undefined) void this.#queue.add(() => this.#publication(camera));
  }

  #isDue(
    { confirmed, failure }: DesiredPart,
    { isBirth, session, agreed }: { isBirth: boolean; session: string | undefined; agreed: boolean | undefined },
  ): boolean {
    if (failure !== undefined) return failure.session !== session;
    return !confirmed || (isBirth && agreed === false);
  }

  #send(camera: string, name: DesiredName, part: DesiredPart, session: string | undefined): void {
    const key = `${camera} ${name}`;
    const { version, at, attempt, by, value } = part;
    const id = `${DESIRED_COMMAND}${name}.${version}.${at.toString(36)}.${attempt}`;
    if (this.#settling.has(camera) || this.#waitUntil.has(key) || this.#running.has(id)) return;
    this.#waitUntil.set(key, Date.now() + RETRY_MS);
    this.#running.add(id);
    const args = Object.fromEntries(Object.entries(value));
    const request = {
      camera,
      id,
      name: `${name}.set`,
      args,
      expires_in: EXPIRES_IN,
      from: { who: by, address: undefined },
    };
    this.#options.run(request, (update) => {
      if (!FINAL_COMMAND_STATUSES.has(update.status) || this.#isStopped) return;
      this.#running.delete(id);
      const outcome = outcomeOf(update, session);
      if (outcome === undefined) {
        this.#waitUntil.set(key, Date.now() + (NOT_SENT.has(update.code) ? NOT_SENT_RETRY_MS : RETRY_MS));
        return;
      }
      // Until the outcome is stored, the part looks as if the command had not been sent.
      this.#waitUntil.set(key, Date.now() + RETRY_MS);
      const noted = this.#note(camera, name, part, { ...outcome, attempt: attempt + 1 });
      void noted.then(() => this.#waitUntil.set(key, 0));
    });
  }

  /** Never rejects. The collection calls back after the change. */
  async #note(camera: string, name: DesiredName, { version }: DesiredPart, outcome: Parameters<typeof noteOutcome>[2]) {
    const { documents, logger } = this.#options;
    await noteOutcome(documents, { camera, name, version }, outcome).catch((err: unknown) => {
      logger.warn({ err, camera, state: name }, "outcome of a desired state not stored");
    });
  }

  #reported(camera: string, name: DesiredName): unknown {
    const { journal, tree } = this.#options;
    const entry = journal.state(tree.build({ kind: "camera-state", camera, name }));
    return entry === undefined || endOf(entry).historical ? undefined : dataOf(entry);
  }

  #noteDifference(camera: string, name: DesiredName, part: DesiredPart, isEqual: boolean): void {
    const key = `${camera} ${name}`;
    if (isEqual) this.#differsSince.delete(key);
    else if (!this.#differsSince.has(key))
      this.#differsSince.set(
        key,
        this.#publishedDifference(camera, name, part) ?? (part.confirmed ? Date.now() : part.at),
      );
  }

  /** What an earlier run of the server has published. */
  #publishedDifference(camera: string, name: DesiredName, { version }: DesiredPart): number | undefined {
    const published = desiredStateSchema.safeParse(this.#published(camera)).data?.[name];
    const since = published?.version === version ? published.differs_since : undefined;
    return since === undefined ? undefined : Date.parse(since);
  }

  #published(camera: string): unknown {
    const { journal, tree } = this.#options;
    const entry = journal.state(tree.build({ kind: "camera-state", camera, name: DESIRED_STATE }));
    return entry === undefined ? null : dataOf(entry);
  }

  #publication(camera: string): BackendEvent | undefined {
    const document = this.#collection.get(camera);
    if (document === undefined) return undefined;
    const data = viewOf(document, (name) => this.#differsSince.get(`${camera} ${name}`));
    if (isDeepStrictEqual(data, this.#published(camera))) return undefined;
    const topic = { kind: "camera-state", camera, name: DESIRED_STATE } as const;
    return { topic, event: "state.updated", data, retain: true };
  }

  /** The camera was removed. Its retained topics are cleared elsewhere. */
  #forget(camera: string): void {
    const { documents, logger } = this.#options;
    this.#settling.delete(camera);
    for (const name of DESIRED_NAMES) {
      this.#differsSince.delete(`${camera} ${name}`);
      this.#waitUntil.delete(`${camera} ${name}`);
    }
    documents.delete(DESIRED, camera).catch((err: unknown) => {
      logger.warn({ err, camera }, "desired state of a removed camera not removed");
    });
  }
}

function isDesiredName(name: string): name is DesiredName {
  return name === "schedule" || name === "settings";
}

/** The reasons for which a command does not leave the server. */
const NOT_SENT: ReadonlySet<ReplyCode | undefined> = new Set([
  ...[ReplyCode.deviceOffline, ReplyCode.storeUnavailable, ReplyCode.limit, ReplyCode.rateLimited, ReplyCode.internal],
]);

/** Undefined while the outcome is unknown: the same command may be sent again. */
function outcomeOf({ status, error, code }: CommandUpdate, session: string | undefined) {
  if (status === "succeeded") return { confirmed: true, failure: undefined };
  if (status === "unknown") return {};
  const isOfCamera = code === undefined || code === ReplyCode.commandRejected;
  if (!isOfCamera || (status !== "failed" && status !== "rejected")) return undefined;
  const failure = { error: error ?? "the camera did not say why", ...(session === undefined ? {} : { session }) };
  return { failure };
}
