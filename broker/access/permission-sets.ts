import type { CustomChannels } from "../../contract/channels.ts";
import { cameraNamedInPayload, type RefusalReason } from "../../contract/events.ts";
import { type Grants, grantsOf } from "../../contract/permissions.ts";
import { filterProblem, isRetained, type Topic, type TopicTree, topicProblem } from "../../contract/topics.ts";
import type { AuditedAct } from "../../platform/identity.ts";
import { TopicCache } from "../../platform/topic-cache.ts";

/** Cached permission sets. An installation has about one for each kind of user. */
const MAX_SETS = 1000;
/** The largest number of topics in each of the two generations of a set's `TopicCache`. */
const TOPICS_PER_SET = 2048;

export type PublishDecision =
  /** The topic is below the root: the publication is made durable before it is acknowledged. */
  | {
      kind: "ingest";
      /** Whether a message may be retained. Events, previews, commands and replies may not. */
      retains: boolean;
      /** See {@link ownerTopic}. */
      owner: string | undefined;
      /** Ingest may refuse the payload: the publication is forwarded only after ingest has accepted it. */
      awaitsIngest: boolean;
      /** For the audit log; undefined for what devices report about themselves. */
      act: Pick<AuditedAct, "action" | "target"> | undefined;
    }
  /** The topic is outside the root: the publication is not recorded in the journal. */
  | { kind: "plain" }
  | { kind: "refused"; reason: RefusalReason; why: string };

const PLAIN: PublishDecision = { kind: "plain" };

/** The topics that a set of permissions allows. All clients with the same permissions share one object. */
export interface PermissionSet {
  readonly grants: Grants;
  mayRead(topic: string): boolean;
  /** Like {@link mayRead}, but also refuses a job or broadcast about a camera that the permissions do not cover. */
  mayReceive(topic: string, payload: string | Uint8Array): boolean;
  /** Why the filter may not be subscribed to; undefined when it may. */
  subscribeProblem(filter: string): { kind: "bad-filter" | "not-allowed"; why: string } | undefined;
  decidePublish(topic: string): PublishDecision;
}

interface PermissionSetsOptions {
  tree: TopicTree;
  channels: CustomChannels;
}

export class PermissionSets {
  readonly #options: PermissionSetsOptions;
  readonly #sets = new Map<string, PermissionSet>();

  constructor(options: PermissionSetsOptions) {
    this.#options = options;
  }

  of(permissions: readonly string[]): PermissionSet {
    // JSON gives different sets different keys, whatever characters the permissions contain.
    const key = JSON.stringify(permissions.toSorted());
    const known = this.#sets.get(key);
    if (known !== undefined) {
      this.#sets.delete(key);
      this.#sets.set(key, known);
      return known;
    }
    const set = permissionSet(permissions, this.#options);
    if (this.#sets.size >= MAX_SETS) {
      const [oldest] = this.#sets.keys();
      if (oldest !== undefined) this.#sets.delete(oldest);
    }
    this.#sets.set(key, set);
    return set;
  }
}

function permissionSet(permissions: readonly string[], { tree, channels }: PermissionSetsOptions): PermissionSet {
  const grants = grantsOf(permissions, { tree, channels });
  const readable = new TopicCache(
    (topic) => (!grants.canReadTopic(topic) ? "no" : grants.mustReadMessage(topic) ? "by-camera" : "yes"),
    TOPICS_PER_SET,
  );
  return {
    grants,
    mayRead: (topic) => readable.of(topic) !== "no",
    mayReceive: (topic, payload) => {
      const decision = readable.of(topic);
      if (decision !== "by-camera") return decision === "yes";
      const camera = cameraNamedBy(payload);
      return camera === undefined || grants.seesCamera(camera);
    },
    subscribeProblem: (filter) => {
      const problem = tree.owns(filter) ? filterProblem(filter) : plainProblem(filter, filterProblem);
      if (problem !== undefined) return { kind: "bad-filter", why: `the filter ${problem}` };
      if (grants.canSubscribe(filter)) return undefined;
      return { kind: "not-allowed", why: "its permissions do not cover the filter" };
    },
    decidePublish: (topic) => {
      const owned = tree.owns(topic);
      const problem = owned ? topicProblem(topic) : plainProblem(topic, topicProblem);
      if (problem !== undefined) return { kind: "refused", reason: "bad_topic", why: `the topic ${problem}` };
      if (!grants.canWriteTopic(topic))
        return { kind: "refused", reason: "not_allowed", why: "its permissions do not cover the topic" };
      const parsed = tree.parse(topic);
      if (parsed === undefined) return PLAIN;
      return {
        kind: "ingest",
        retains: isRetained(parsed),
        owner: ownerTopic(tree, topic),
        act: actOf(parsed),
        awaitsIngest: parsed.kind === "camera-preview" || parsed.kind === "camera-command",
      };
    },
  };
}

/** Each payload is parsed only once for all its receivers. */
const camerasNamed = new WeakMap<Uint8Array, { camera: string | undefined }>();

/** The camera that the payload of a job or a broadcast names. */
function cameraNamedBy(payload: string | Uint8Array): string | undefined {
  if (typeof payload === "string") return cameraNamedInPayload(Buffer.from(payload));
  let known = camerasNamed.get(payload);
  if (known === undefined) {
    known = { camera: cameraNamedInPayload(payload) };
    camerasNamed.set(payload, known);
  }
  return known.camera;
}

/** For the audit log; undefined for topics on which devices report about themselves. */
export function actOf(topic: Topic | undefined): Pick<AuditedAct, "action" | "target"> | undefined {
  if (topic?.kind === "camera-command") return { action: "command", target: `camera:${topic.camera} ${topic.command}` };
  return topic?.kind === "channel-event"
    ? { action: "broadcast", target: `${topic.channel} ${topic.event}` }
    : undefined;
}

/** The base topic of the camera or service that the topic belongs to; undefined for other topics. */
export function ownerTopic(tree: TopicTree, topic: string): string | undefined {
  const parsed = tree.parse(topic);
  if (parsed === undefined || !("camera" in parsed || "service" in parsed)) return undefined;
  const [kind, id] = topic.slice(tree.root.length + 1).split("/");
  return [tree.root, kind, id].join("/");
}

/** Checks a topic or filter outside the root, where MQTT's own rules apply and allow empty levels (`/house/light`). */
function plainProblem(text: string, problemOf: (text: string) => string | undefined): string | undefined {
  if (text === "") return problemOf(text);
  return problemOf(text.replaceAll(/(?<=^|\/)(?=\/|$)/g, "-"));
}
