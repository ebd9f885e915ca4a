import { cameraChannel, JOBS } from "../../../contract/channels.ts";
import type { TopicTree } from "../../../contract/topics.ts";
import type { IncomingPublication } from "../../../platform/publications.ts";
import { ownerProblem } from "../../../platform/retained-quota.ts";
import type { Journal } from "../../journal/journal.ts";

interface RetainedLimitsOptions {
  journal: Pick<Journal, "state" | "snapshot">;
  tree: Pick<TopicTree, "root" | "parse">;
  /** Topics with a retained message below one camera or service. */
  maxMessages: number;
  /** Characters of the retained messages below one camera or service, as the journal stores them. */
  maxChars: number;
  /** @param why for the operator */
  onExceeded(publication: IncomingPublication, why: string): void;
}

/**
 * Bounds what the server keeps in memory for one camera or service, as the embedded broker does: the other broker may let
 * a camera retain as many messages as it likes.
 */
export class RetainedLimits {
  readonly #options: RetainedLimitsOptions;

  constructor(options: RetainedLimitsOptions) {
    this.#options = options;
  }

  /** The publication, or the publication without its retain flag: it is stored as an event, and not as a state. */
  apply(publication: IncomingPublication): IncomingPublication {
    if (!publication.retain || publication.payload.length === 0) return publication;
    const topic = this.#options.tree.parse(publication.topic);
    if (topic === undefined || !("camera" in topic || "service" in topic)) return publication;
    // The other broker keeps these for its subscribers. The server itself shows them to nobody.
    if (topic.kind === "camera-other" || topic.kind === "service-other") return { ...publication, retain: false };
    const channel = "camera" in topic ? cameraChannel(topic.camera) : JOBS;
    const why = this.#problem(publication, channel);
    if (why === undefined) return publication;
    this.#options.onExceeded(publication, why);
    return { ...publication, retain: false };
  }

  #problem({ topic, payload }: IncomingPublication, channel: string): string | undefined {
    const { journal, tree, maxMessages, maxChars } = this.#options;
    const known = journal.state(topic);
    const added = payload.length - (known?.body.length ?? 0);
    if (known !== undefined && added <= 0) return undefined;
    const levels = tree.root.split("/").length + 2;
    const owner = topic.split("/").slice(0, levels).join("/");
    const own = journal.snapshot(channel).filter((state) => state.topic.startsWith(`${owner}/`));
    if (known === undefined && own.length >= maxMessages) return ownerProblem(owner, own.length, maxMessages);
    const chars = own.reduce((sum, { body }) => sum + body.length, 0);
    return chars + added > maxChars
      ? `the retained messages of ${owner} have ${chars} bytes, and MAX_RETAINED_BYTES_PER_DEVICE is ${maxChars}`
      : undefined;
  }
}
