import type { CustomChannels } from "../../contract/channels.ts";
import { cameraNamedInPayload, type RefusalReason } from "../../contract/events.ts";
import { type Grants, grantsOf } from "../../contract/permissions.ts";
import { filterProblem, isRetained, type Topic, type TopicTree, topicProblem } from "../../contract/topics.ts";
import type { AuditedAct } from "../../platform/identity.ts";
import { TopicCache } from "../../platform/topic-cache.ts";

/** Sets of permissions whose readable topics are remembered: as many kinds of users as an installation has. */
const MAX_SETS = 1000;
/** Topics remembered for one set. 1,000 cameras with 20 topics each are more; then some are decided again. */
const TOPICS_PER_SET = 2048;

/** What comes of a wish to publish. */
export type PublishDecision =
  /** Below the root: made durable first. */
  | {
      kind: "ingest";
      /** Whether a message on this topic may be retained: events, pictures, commands and replies are not. */
      retains: boolean;
      /** The topic of the camera or service that it is below. */
      owner: string | undefined;
      /** Ingest may refuse it for what its payload is: nobody is to be given it before. */
      isLookedAt: boolean;
      /** What the audit log is to say of it; undefined for what devices say of themselves. */
      act: Pick<AuditedAct, "action" | "target"> | undefined;
    }
  /** Plain broker traffic outside the root, none of the journal's business. */
  | { kind: "plain" }
  | { kind: "refused"; reason: RefusalReason; why: string };

const PLAIN: PublishDecision = { kind: "plain" };

/** What the bearers of one set of permissions may do with topics. Shared by them, so that a decision is made once for all. */
export interface PermissionSet {
  readonly grants: Grants;
  mayRead(topic: string): boolean;
  /** The same of one message, which may name a camera that the bearers do not see. */
  mayReceive(topic: string, payload: string | Uint8Array): boolean;
  /** Undefined when the filter may be subscribed to, else why not. */
  subscribeProblem(filter: string): string | undefined;
  decidePublish(topic: string): PublishDecision;
}

export interface PermissionSetsOptions {
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
    // Whatever is in a permission, no two sets are taken for one.
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
      const answer = readable.of(topic);
      if (answer !== "by-camera") return answer === "yes";
      const camera = cameraNamedBy(payload);
      return camera === undefined || grants.seesCamera(camera);
    },
    subscribeProblem: (filter) => {
      const problem = tree.owns(filter) ? filterProblem(filter) : plainProblem(filter, filterProblem);
      if (problem !== undefined) return `the filter ${problem}`;
      return grants.canSubscribe(filter) ? undefined : "its permissions do not cover the filter";
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
        isLookedAt: parsed.kind === "camera-preview" || parsed.kind === "camera-command",
      };
    },
  };
}

/** By payload, so that it is read once, however many receive it. */
const camerasNamed = new WeakMap<Uint8Array, { camera: string | undefined }>();

/** The camera that a job or a broadcast names. */
function cameraNamedBy(payload: string | Uint8Array): string | undefined {
  if (typeof payload === "string") return cameraNamedInPayload(Buffer.from(payload));
  let known = camerasNamed.get(payload);
  if (known === undefined) {
    known = { camera: cameraNamedInPayload(payload) };
    camerasNamed.set(payload, known);
  }
  return known.camera;
}

/** What a publication there does to others; undefined when it says something of its sender. */
export function actOf(topic: Topic | undefined): Pick<AuditedAct, "action" | "target"> | undefined {
  if (topic?.kind === "camera-command") return { action: "command", target: `camera:${topic.camera} ${topic.command}` };
  return topic?.kind === "channel-event"
    ? { action: "broadcast", target: `${topic.channel} ${topic.event}` }
    : undefined;
}

/** The topic of the camera or service that a topic is below; undefined for other topics. */
export function ownerTopic(tree: TopicTree, topic: string): string | undefined {
  const parsed = tree.parse(topic);
  if (parsed === undefined || !("camera" in parsed || "service" in parsed)) return undefined;
  const [kind, id] = topic.slice(tree.root.length + 1).split("/");
  return [tree.root, kind, id].join("/");
}

/** Outside the root the names are other people's, and MQTT lets them have empty levels (`/house/light`). */
function plainProblem(text: string, problemOf: (text: string) => string | undefined): string | undefined {
  if (text === "") return problemOf(text);
  return problemOf(text.replaceAll(/(?<=^|\/)(?=\/|$)/g, "-"));
}
