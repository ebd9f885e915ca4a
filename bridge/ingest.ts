import type { Logger } from "pino";
import { monotonicFactory } from "ulid";
import { broadcastProblem } from "../contract/broadcast-channels.ts";
import { type CustomChannels, cameraChannel, cameraOfTopic, channelsOf } from "../contract/channels.ts";
import {
  cameraNamedIn,
  type Envelope,
  linkSchema,
  type Publication,
  type RefusalReason,
  readPublication,
} from "../contract/events.ts";
import type { Topic, TopicTree } from "../contract/topics.ts";
import { StoreUnavailableError } from "../platform/errors.ts";
import { FairQueue } from "../platform/fair-queue.ts";
import type { Acceptance, IncomingPublication, Ingest, OutgoingPublication } from "../platform/publications.ts";
import { TopicCache } from "../platform/topic-cache.ts";
import { MAX_DEVICES } from "./auth/devices.ts";
import type { BrokerLink } from "./broker-link/broker-link.ts";
import type { OwnMessage, Publish } from "./broker-link/publish.ts";
import { SenderClocks } from "./cameras/sender-clocks.ts";
import type { LostCommand, MqttCommands } from "./commands/mqtt-commands.ts";
import { eventBody, eventPlace } from "./delivery/frames.ts";
import type { Appended, Journal, JournalMessage } from "./journal/journal.ts";
import { PreviewRefusedError, type Previews, type SavedPreview } from "./previews/previews.ts";

/** QoS 0 publications whose write is not waited for; beyond, they are dropped, as QoS 0 permits. */
const MAX_UNWAITED = 10_000;
/**
 * Previews on their way to the disk at once, and those of one sender. What else comes waits, unacknowledged; the broker bounds how
 * much that is by `MAX_MQTT_PENDING_BYTES` of each identity.
 */
const MAX_PREVIEWS_UNDER_WAY = 32;
const MAX_PREVIEWS_UNDER_WAY_PER_SENDER = 4;
/** Events of the backend that wait for the broker link. Beyond, they wait in the journal for the next start. */
const MAX_WAITING_FOR_LINK = 10_000;
/** Topics whose parts are remembered: twice as many at most. */
const TOPICS_REMEMBERED = 10_000;
/** Places for channels in the journal that are kept for registered cameras: as many as can be registered. */
export const RESERVED_CHANNELS = MAX_DEVICES;
/** What an event says beside what it was sent with: names, times, its place. */
const STATE_OVERHEAD_CHARS = 2048;
/** Where nobody else is named, the backend speaks. */
const OWN_SENDER = "backend";

/** What a topic's name says of every message on it. */
interface TopicFacts {
  topic: Topic;
  channels: readonly string[];
  camera: string | undefined;
  /** As events name it: {@link eventPlace}. */
  place: string;
}

/** The publication can never be accepted: sending it again changes nothing. */
export class PublicationRefusedError extends Error {
  override name = "PublicationRefusedError";
  /** What the broker tells a sender's fault from a failure of ours by. */
  readonly permanent = true;
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface IngestOptions {
  journal: Journal;
  tree: TopicTree;
  channels: CustomChannels;
  previews: Pick<Previews, "save">;
  /** Larger payloads are refused. */
  maxPayloadBytes: number;
  /** Whether the camera may connect. What it says always finds a place in the journal. Default: none is registered. */
  isRegistered?: (camera: string) => boolean;
  logger: Logger;
  /** Milliseconds since 1970. Default: the system's clock. */
  now?: () => number;
}

export interface IngestStats {
  /** Given a position. */
  accepted: number;
  /** Acknowledged again, given no second position. */
  duplicates: number;
  refused: number;
  /** Not acknowledged, for the store did not take them. */
  failed: number;
  /** QoS 0 that was lost because the store was slow or did not take it. */
  dropped: number;
  /** Outside the topic root: forwarded, not recorded. */
  foreign: number;
  bytes: number;
}

/** Runs the commands that MQTT clients give, and tells their senders of those that were lost. */
type Commands = Pick<MqttCommands, "take" | "lost">;

export interface BridgeIngest extends Ingest {
  /**
   * Events of the backend itself and of `POST /broadcast`. Resolves when the event is durable; MQTT subscribers are
   * given it then, as soon as a link is attached.
   * @throws {RangeError} the topic is not of the contract's form
   * @throws {StoreUnavailableError} nothing was kept
   */
  publish: Publish;
  /** From now on commands of MQTT clients are given to the relay, and not to the camera as they are. */
  attachCommands(commands: Commands): void;
  /** From now on what the backend publishes goes to the link's subscribers, first what has waited for it. */
  attach(link: Pick<BrokerLink, "publish">): void;
  /**
   * Publishes what was accepted in an earlier run, and not given to MQTT subscribers before that ended. Once, at start.
   * @param options.late after the start, of a journal that says by `onUnemitted` that there is more; that is never what
   * this run is about to publish itself
   */
  replayUnemitted(options?: { late?: boolean }): Promise<void>;
  stats(): IngestStats;
}

/** Where everything that anybody publishes becomes an entry of the journal. */
export function createIngest(options: IngestOptions): BridgeIngest {
  return new JournalIngest(options);
}

class JournalIngest implements BridgeIngest {
  readonly #options: IngestOptions;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #nextId = monotonicFactory();
  readonly #topics: TopicCache<TopicFacts | "foreign" | "malformed">;
  /** Positions up to here are of earlier runs. */
  readonly #startedAt: number;
  #link: Pick<BrokerLink, "publish"> | undefined;
  #commands: Commands | undefined;
  /** Commands of an earlier run. They wait here until {@link attachCommands} brings who tells their senders. */
  readonly #lostCommands: { position: number; command: LostCommand }[] = [];
  readonly #waitingForLink: { position: number; publication: OutgoingPublication }[] = [];
  readonly #senderClocks = new SenderClocks();
  #unwaited = 0;
  readonly #previewTurns = new FairQueue({
    maxRunning: MAX_PREVIEWS_UNDER_WAY,
    maxPerOwner: MAX_PREVIEWS_UNDER_WAY_PER_SENDER,
  });
  readonly #stats: IngestStats = {
    accepted: 0,
    duplicates: 0,
    refused: 0,
    failed: 0,
    dropped: 0,
    foreign: 0,
    bytes: 0,
  };

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#now = options.now ?? Date.now;
    this.#startedAt = options.journal.head;
    this.#topics = new TopicCache((name) => this.#factsOf(name), TOPICS_REMEMBERED);
  }

  // Nothing is awaited before the append: the order of positions is that of the calls.
  async accept(publication: IncomingPublication): Promise<Acceptance> {
    const { topic: name, payload, qos } = publication;
    const { maxPayloadBytes } = this.#options;
    const facts = this.#topics.of(name);
    if (facts === "malformed") this.#refuse("bad_topic", `"${name}" is no topic of this system`);
    if (facts === "foreign") {
      this.#stats.foreign++;
      return { position: undefined, forward: true };
    }
    if (payload.length > maxPayloadBytes)
      this.#refuse(
        "too_large",
        `the payload has ${payload.length} bytes, more than MAX_PAYLOAD_BYTES ${maxPayloadBytes}`,
      );
    const problem = this.#channelProblem(facts);
    if (problem !== undefined) this.#refuse("no_channel", problem);
    if (facts.topic.kind === "camera-preview") return this.#acceptPreview(publication, facts, facts.topic);
    if (facts.topic.kind === "camera-command" && this.#commands !== undefined)
      return this.#acceptCommand(publication, facts, facts.topic, this.#commands);
    const message = this.#messageOf(publication, facts);
    const accepted: Acceptance = { position: undefined, forward: true };
    if (publication.retain && message.state === undefined) accepted.historical = true;
    if (message.state === "set" && message.body.length > 2 * payload.length + STATE_OVERHEAD_CHARS) {
      // The broker's limits on retained messages count payloads.
      message.state = undefined;
      if (message.publish !== undefined) message.publish.retain = false;
      accepted.notRetained = `it is delivered and not retained: as JSON its ${payload.length} bytes are ${message.body.length} characters`;
    }
    if (qos === 0) this.#appendUnwaited(publication, message);
    else {
      accepted.position = (await this.#append(message, payload.length)).position;
      accepted.forward = accepted.position !== undefined;
    }
    return accepted;
  }

  delivered(position: number): void {
    this.#options.journal.delivered(position);
  }

  async publish(message: OwnMessage): Promise<{ position: number | undefined }> {
    const { tree } = this.#options;
    const { topic, event, data, retain = false, historical = false, sender = OWN_SENDER } = message;
    if (topic.kind === "camera-other" || topic.kind === "service-other")
      throw new RangeError(`the backend publishes nothing to topics of kind ${topic.kind}`);
    const name = tree.build(topic);
    const id = message.id ?? this.#nextId(this.#now());
    const timestamp = new Date(this.#now()).toISOString();
    const clears = retain && data === null;
    const dataText = clears ? undefined : (message.dataText ?? JSON.stringify(data ?? null));
    const payload = clears ? Buffer.alloc(0) : envelopeOf({ id, timestamp, event, historical }, dataText);
    const unnumbered = { session: undefined, seq: undefined, dataText };
    const said: Publication = {
      event,
      data: clears ? clearing(topic) : data,
      timestamp,
      id,
      historical,
      ...unnumbered,
    };
    const publication: IncomingPublication = { identity: sender, topic: name, payload, qos: 1, retain };
    const { position } = await this.#append(
      this.#journalMessage(publication, this.#placeOf(topic, name), said),
      payload.length,
    );
    if (position === undefined) {
      // An id that was made here is new, so the journal cannot know it.
      if (message.id === undefined) throw new Error("an event of the backend was taken for a repetition");
      return { position };
    }
    this.#emit(position, { topic: name, payload, qos: 1, retain: retain && !historical });
    return { position };
  }

  attachCommands(commands: Commands): void {
    this.#commands = commands;
    for (const { position, command } of this.#lostCommands.splice(0)) this.#tellLost(commands, position, command);
  }

  #tellLost(commands: Commands, position: number, command: LostCommand): void {
    commands.lost(command);
    this.delivered(position);
  }

  attach(link: Pick<BrokerLink, "publish">): void {
    this.#link = link;
    for (const { position, publication } of this.#waitingForLink.splice(0)) this.#emit(position, publication);
  }

  async replayUnemitted({ late = false }: { late?: boolean } = {}): Promise<void> {
    const { journal } = this.#options;
    let count = 0;
    for await (const { position, ...publication } of journal.undelivered()) {
      if (position > this.#startedAt && !late) continue;
      const topic = this.#options.tree.parse(publication.topic);
      if (topic?.kind === "camera-command") {
        const { camera, command: name } = topic;
        const command = { payload: Buffer.from(publication.payload), camera, name };
        if (this.#commands === undefined) this.#lostCommands.push({ position, command });
        else this.#tellLost(this.#commands, position, command);
        continue;
      }
      if (this.#link === undefined) throw new Error("replayUnemitted needs a link: attach one first");
      await this.#link.publish({ ...publication, payload: Buffer.from(publication.payload) });
      journal.delivered(position);
      count++;
    }
    if (count > 0) this.#logger.info({ count }, "published what the last run had accepted and not delivered");
  }

  stats(): IngestStats {
    return { ...this.#stats };
  }

  #factsOf(name: string): TopicFacts | "foreign" | "malformed" {
    const { tree } = this.#options;
    const topic = tree.parse(name);
    if (topic === undefined) return tree.owns(name) ? "malformed" : "foreign";
    return this.#placeOf(topic, name);
  }

  #placeOf(topic: Topic, name: string): TopicFacts {
    const { tree, channels } = this.#options;
    const camera = cameraOfTopic(topic);
    const place = eventPlace({ camera, topic: name.slice(tree.root.length + 1) });
    return { topic, channels: channelsOf(topic, name, channels), camera, place };
  }

  #messageOf(publication: IncomingPublication, facts: TopicFacts): JournalMessage {
    const { topic } = facts;
    const now = this.#now();
    const said = readPublication(topic, publication.payload, now);
    if (isOfNow(topic, said)) this.#senderClocks.note(topic.camera, said.timestamp, now);
    return this.#journalMessage(publication, facts, said.data === null ? { ...said, data: clearing(topic) } : said);
  }

  #journalMessage(
    { identity, topic, payload, qos, retain }: IncomingPublication,
    { channels, camera, place }: TopicFacts,
    { event, data, dataText, timestamp, id, session, seq, historical }: Publication,
  ): JournalMessage {
    // What comes late from a backlog is history: it is never the newest word on anything.
    const retained = retain && !historical;
    return {
      topic,
      channels,
      camera: camera ?? cameraNamedIn(data) ?? this.#options.journal.state(topic)?.camera,
      body: eventBody({ event, data, dataText, timestamp, id, historical, seq, place }),
      state: retained ? (payload.length === 0 ? "clear" : "set") : undefined,
      origin: { sender: identity, id, session, seq },
      // QoS 0 is delivered at most once: after a crash it is not sent again.
      publish: qos === 0 ? undefined : { payload, qos, retain: retained },
    };
  }

  async #append(message: JournalMessage, bytes: number): Promise<Appended> {
    let appended: Appended;
    try {
      appended = await this.#options.journal.append(message);
    } catch (error) {
      this.#stats.failed++;
      throw error;
    }
    if (appended.duplicate) this.#stats.duplicates++;
    else {
      this.#stats.accepted++;
      this.#stats.bytes += bytes;
    }
    return appended;
  }

  #appendUnwaited({ identity, topic, payload }: IncomingPublication, message: JournalMessage): void {
    if (this.#unwaited >= MAX_UNWAITED) {
      this.#drop({ identity, topic }, "too many writes are waited for");
      return;
    }
    this.#unwaited++;
    this.#append(message, payload.length)
      .catch((error: unknown) =>
        this.#drop({ identity, topic }, error instanceof Error ? error.message : String(error)),
      )
      .finally(() => this.#unwaited--);
  }

  /** The first and every thousandth are logged: a store in trouble must not fill the disk with complaints. */
  #drop(from: { identity: string; topic: string }, reason: string): void {
    if (this.#stats.dropped++ % 1000 === 0)
      this.#logger.warn({ ...from, reason, dropped: this.#stats.dropped }, "QoS 0 message dropped");
  }

  /** Recorded and acknowledged; the relay brings it to its camera when its turn comes, or says why not. */
  async #acceptCommand(
    publication: IncomingPublication,
    facts: TopicFacts,
    { camera, command: name }: Extract<Topic, { kind: "camera-command" }>,
    { take }: Commands,
  ): Promise<Acceptance> {
    const { identity, payload } = publication;
    const { position } = await this.#append(this.#messageOf(publication, facts), payload.length);
    let isOpen = position !== undefined;
    const settled = () => {
      if (isOpen && position !== undefined) this.delivered(position);
      isOpen = false;
    };
    // When it is acknowledged. A repetition is with the relay already.
    if (position !== undefined) setImmediate(take, { identity, payload, camera, name, settled });
    return { position: undefined, forward: false };
  }

  async #acceptPreview(
    publication: IncomingPublication,
    { channels, place }: TopicFacts,
    topic: Extract<Topic, { kind: "camera-preview" }>,
  ): Promise<Acceptance> {
    const { camera, capture } = topic;
    const { payload } = publication;
    let saved: SavedPreview;
    try {
      const senderAheadMs = this.#senderClocks.aheadOf(camera);
      saved = await this.#previewTurns.run(publication.identity, () =>
        this.#options.previews.save(camera, capture, payload, { senderAheadMs }),
      );
    } catch (error) {
      if (error instanceof PreviewRefusedError) this.#refuse("bad_picture", error.message);
      this.#stats.failed++;
      throw new StoreUnavailableError("the preview could not be written", { cause: error });
    }
    const timestamp = new Date(this.#now()).toISOString();
    // A picture has no id. One of the same capture with the same bytes is a repetition.
    const id = `preview.${camera}.${capture}.${saved.updated.etag}`;
    const said = { event: "preview.updated", data: saved.updated, dataText: undefined, timestamp, id: undefined };
    const { duplicate } = await this.#append(
      {
        topic: publication.topic,
        channels,
        camera,
        // A picture from a backlog is history: a newer one is there already.
        body: eventBody({ ...said, historical: !saved.newest, seq: undefined, place }),
        state: undefined,
        origin: { sender: publication.identity, id, session: undefined, seq: undefined },
        // The bytes are kept as a file, of each camera the newest: they are not to be published again after a crash.
        publish: undefined,
      },
      payload.length,
    );
    return { position: undefined, forward: !duplicate };
  }

  #emit(position: number, publication: OutgoingPublication): void {
    if (this.#link === undefined) {
      if (this.#waitingForLink.length < MAX_WAITING_FOR_LINK) this.#waitingForLink.push({ position, publication });
      return;
    }
    this.#link.publish(publication).then(
      () => this.delivered(position),
      (error: unknown) => this.#logger.error({ err: error, topic: publication.topic, position }, "event not published"),
    );
  }

  /**
   * Why the channels of the topic take no message. Names of cameras that are not registered come from administrators and
   * tokens made for a device: they do not get the last {@link RESERVED_CHANNELS} places in the journal.
   */
  #channelProblem({ topic, camera }: TopicFacts): string | undefined {
    const { journal, channels: custom, isRegistered = () => false } = this.#options;
    if (topic.kind === "channel-event")
      return broadcastProblem(topic.channel, { custom, isRegistered, hasChannel: (name) => journal.hasChannel(name) });
    if (camera === undefined || journal.freeChannels > RESERVED_CHANNELS || journal.hasChannel(cameraChannel(camera)))
      return undefined;
    return isRegistered(camera)
      ? undefined
      : `the journal has places for registered cameras only: register ${camera} (npx skylapse camera add ${camera})`;
  }

  /** Whoever asked for it to be accepted tells of it. */
  #refuse(reason: RefusalReason, message: string): never {
    this.#stats.refused++;
    throw new PublicationRefusedError(reason, message);
  }
}

/** The payload of an event of the backend: an envelope whose `data` is written once, for everybody. */
function envelopeOf(
  { id, timestamp, event, historical }: Pick<Envelope, "id" | "timestamp" | "event" | "historical">,
  dataText: string | undefined,
): Buffer {
  const late = historical ? ',"historical":true' : "";
  return Buffer.from(
    `{"v":1,"id":"${id}","timestamp":"${timestamp}","event":"${event}","data":${dataText ?? "null"}${late}}`,
  );
}

/** A birth, or an event that is not of a backlog: its timestamp is what the camera's clock says now. A will is old. */
function isOfNow(
  topic: Topic,
  { id, data, historical }: Publication,
): topic is Extract<Topic, { kind: "camera-link" | "camera-event" }> {
  if (id === undefined || historical) return false;
  return (
    topic.kind === "camera-event" ||
    (topic.kind === "camera-link" && linkSchema.safeParse(data).data?.status === "online")
  );
}

/** What an operator is to know of the places for channels, while the server works. */
export function channelNotices({ freeChannels }: Pick<Journal, "freeChannels">): string[] {
  return freeChannels > RESERVED_CHANNELS
    ? []
    : [`the journal has ${freeChannels} places for channels left: what unregistered cameras say is refused`];
}

/** An empty payload says nothing of what it clears; of an alert, its topic does. */
function clearing(topic: Topic): { alert: string } | null {
  return topic.kind === "camera-alert" || topic.kind === "service-alert" ? { alert: topic.name } : null;
}
