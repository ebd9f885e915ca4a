import { isId } from "../../contract/ids.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { Entry, Journal } from "../journal/journal.ts";
import { bodyOf, isFarewell, isOfCamera, linkIn } from "./camera-messages.ts";

/** What another broker has lost: see {@link CameraLinks}. */
interface LostLinks {
  /** Counts the losses. */
  readonly lost: number;
  /** The cameras whose links the broker still retained. */
  readonly links?: readonly string[] | undefined;
}

interface CameraLinksOptions {
  journal: Pick<Journal, "follow" | "state">;
  tree: TopicTree;
  /** Whether everything that cameras have sent up to now is in the journal. */
  isHearing: () => boolean;
  /** Undefined until a node receives from the broker. */
  lostLinks: () => LostLinks | undefined;
}

interface CameraLink {
  session: string | undefined;
  isConnected: boolean;
  isAsleep: boolean;
}

const DEVICE = "device:";

/**
 * Which cameras are connected to another broker, which does not list its clients: known from births, wills, and messages.
 * A camera without births counts as connected once it has sent something.
 */
export class CameraLinks {
  readonly #options: CameraLinksOptions;
  readonly #links = new Map<string, CameraLink>();
  readonly #unfollow: () => void;
  #lost = 0;

  constructor(options: CameraLinksOptions) {
    this.#options = options;
    this.#unfollow = options.journal.follow((entries) => {
      for (const entry of entries) this.#apply(entry);
    });
  }

  /** False while the server does not hear the cameras. */
  connected(identity: string): boolean {
    const camera = identity.startsWith(DEVICE) ? identity.slice(DEVICE.length) : "";
    if (!isId(camera) || !this.#options.isHearing()) return false;
    this.#noteLoss();
    return this.#link(camera).isConnected;
  }

  stop(): void {
    this.#unfollow();
  }

  /** A link that the broker no longer retains proves nothing: its camera has to connect again. */
  #noteLoss(): void {
    const { lost = this.#lost, links } = this.#options.lostLinks() ?? {};
    if (lost === this.#lost) return;
    this.#lost = lost;
    const retained = new Set(links);
    for (const [camera, link] of this.#links) if (!retained.has(camera)) link.isConnected = false;
  }

  #apply(entry: Entry): void {
    const { camera } = entry;
    if (camera === undefined) return;
    const known = this.#links.get(camera);
    // The common case, an event of a camera known to be connected, needs no parsing.
    if (known?.isConnected === true && !entry.topic.endsWith("/link")) return;
    const topic = this.#options.tree.parse(entry.topic);
    if (topic === undefined || !isOfCamera(topic)) return;
    if (topic.kind === "camera-link") this.#applyLink(camera, entry);
    // A preview's entry is appended once the picture is on disk, perhaps after the will of its connection.
    else if (topic.kind !== "camera-preview" && !isFarewell(topic, entry)) this.#heard(camera, entry);
  }

  #heard(camera: string, entry: Entry): void {
    if (bodyOf(entry)?.historical === true) return;
    const link = this.#link(camera);
    if (!link.isAsleep) this.#links.set(camera, { ...link, isConnected: true });
  }

  #applyLink(camera: string, entry: Entry): void {
    const sent = entry.state === "clear" ? undefined : linkIn(entry);
    const known = this.#links.get(camera);
    // The broker may send the will of an earlier session after the birth of the next one.
    const isOther = known?.session !== undefined && known.session !== sent?.session;
    if (sent?.status === "offline" && isOther) return;
    this.#links.set(camera, linkOf(sent));
  }

  #link(camera: string): CameraLink {
    const known = this.#links.get(camera);
    if (known !== undefined) return known;
    const { journal, tree } = this.#options;
    const entry = journal.state(tree.build({ kind: "camera-link", camera }));
    if (entry === undefined) return linkOf(undefined);
    const link = linkOf(linkIn(entry));
    this.#links.set(camera, link);
    return link;
  }
}

function linkOf(sent: ReturnType<typeof linkIn>): CameraLink {
  return {
    ...{ session: sent?.session, isConnected: sent?.status === "online" },
    isAsleep: sent?.status === "sleeping",
  };
}
