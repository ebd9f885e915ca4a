import type { Logger } from "pino";
import { monotonicFactory } from "ulid";
import { broadcastProblem } from "../contract/broadcast-channels.ts";
import { type CustomChannels, cameraChannel } from "../contract/channels.ts";
import { linkSchema, type Publication, type RefusalReason, readPublication } from "../contract/events.ts";
import type { Topic, TopicTree } from "../contract/topics.ts";
import type { Acceptance, IncomingPublication, Ingest, PermanentRefusal } from "../platform/publications.ts";
import { TopicCache } from "../platform/topic-cache.ts";
import { MAX_DEVICES } from "./auth/devices.ts";
import type { BackendEvent, Publish } from "./broker-link/publish.ts";
import { SenderClocks } from "./cameras/sender-clocks.ts";
import type { Fence } from "./cluster/cluster.ts";
import type { MqttCommands } from "./commands/mqtt-commands.ts";
import { type EventTimes, EventTimesLog } from "./event-times.ts";
import { dataOf } from "./journal/entry-body.ts";
import { type Appended, type Journal, type JournalMessage, withoutRetaining } from "./journal/journal.ts";
import { clearedData, envelopePayload, journalMessage, type TopicFacts, topicFacts } from "./journal-message.ts";
import { commandIdAt, LostCommands } from "./lost-commands.ts";
import { PreviewIngest } from "./preview-ingest.ts";
import { PreviewRefusedError, type Previews } from "./previews/previews.ts";
import { createLatencies, type Latencies } from "./stats/latencies.ts";

/** The most QoS 0 writes under way. Further QoS 0 publications are dropped, which QoS 0 permits. */
const MAX_UNAWAITED = 10_000;
/** The most topics in each of the two generations of the cache. */
const CACHED_TOPICS = 10_000;
/** Journal channels reserved for registered cameras: one for each camera that can be registered. */
export const RESERVED_CHANNELS = MAX_DEVICES;
/** The most characters of an event without its payload: names, times, topic. */
const STATE_OVERHEAD_CHARS = 2048;
/** The sender of events that name none. */
const BACKEND = "backend";

/** The publication can never be accepted: sending it again changes nothing. */
export class PublicationRefusedError extends Error implements PermanentRefusal {
  override name = "PublicationRefusedError";
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
  maxPayloadBytes: number;
  /** Whether a camera is registered. The journal keeps a channel for each registered camera. Default: false. */
  isRegistered?: (camera: string) => boolean;
  /** Default: not measured. */
  latencies?: Pick<Latencies, "cameraToServer" | "append">;
  logger: Logger;
  /** Milliseconds since 1970. Default: the system's clock. */
  now?: () => number;
}

export interface IngestStats {
  accepted: number;
  /** Duplicates: acknowledged, not appended again. */
  duplicates: number;
  refused: number;
  /** Not acknowledged: the append failed. */
  failed: number;
  /** QoS 0 publications that were lost because the store was slow or failed. */
  dropped: number;
  /** Outside the topic root: forwarded, not recorded. */
  foreign: number;
  bytes: number;
}

type CommandSink = Pick<MqttCommands, "run" | "reportLost">;
type TopicOf<Kind extends Topic["kind"]> = Extract<Topic, { kind: Kind }>;

export interface BridgeIngest extends Ingest {
  /**
   * As `accept`, for a publication that another broker has passed on to its subscribers itself: the log does not get it.
   * @param fence of the task that receives from that broker
   * @throws {LeaseLostError} this node does not hold the lease: another node receives
   */
  acceptFromOutside(publication: IncomingPublication, fence: Fence): Promise<void>;
  /** Whether the state of the topic has the same data. Timestamps of payloads without an envelope are not compared. */
  isCurrentState(publication: Pick<IncomingPublication, "topic" | "payload">): boolean;
  /**
   * Publishes an event of the backend or of `POST /broadcast`. Resolves when the event is durable. MQTT subscribers
   * follow the log of the journal.
   * @throws {RangeError} the topic is not part of the contract
   * @throws {StoreUnavailableError} the event was not kept
   */
  publish: Publish;
  /** From now on, commands of MQTT clients go to the command relay, not directly to the camera. */
  attachCommands(commands: CommandSink): void;
  /**
   * Reports the commands that earlier runs have accepted and not finished, and from now on those of dead nodes.
   * @throws {StoreUnavailableError} the store cannot be read
   */
  reportLostCommands(): Promise<void>;
  /** When this node worked on an event; undefined when another node did, or when this is no longer known. */
  timesOf(position: number): EventTimes | undefined;
  stats(): IngestStats;
}

/** Turns every publication, of MQTT clients and of the backend, into a journal entry. */
export function createIngest(options: IngestOptions): BridgeIngest {
  return new JournalIngest(options);
}

class JournalIngest implements BridgeIngest {
  readonly #options: IngestOptions;
  readonly #now: () => number;
  readonly #latencies: Pick<Latencies, "cameraToServer" | "append">;
  readonly #nextId = monotonicFactory();
  readonly #topics: TopicCache<TopicFacts | "foreign" | "malformed">;
  readonly #lostCommands: LostCommands;
  readonly #previews: PreviewIngest;
  readonly #senderClocks = new SenderClocks();
  readonly #times = new EventTimesLog();
  #commands: CommandSink | undefined;
  #unawaited = 0;
  readonly #stats = { accepted: 0, duplicates: 0, refused: 0, failed: 0, dropped: 0, foreign: 0, bytes: 0 };

  constructor(options: IngestOptions) {
    const { previews, latencies = createLatencies(), now = Date.now } = options;
    this.#options = options;
    this.#now = now;
    this.#latencies = latencies;
    this.#lostCommands = new LostCommands(options);
    options.journal.onReset(() => this.#times.clear());
    this.#previews = new PreviewIngest({ previews, now });
    this.#topics = new TopicCache((name) => this.#factsOf(name), CACHED_TOPICS);
  }

  accept(publication: IncomingPublication): Promise<Acceptance> {
    return this.#accept(publication, undefined);
  }

  async acceptFromOutside(publication: IncomingPublication, fence: Fence): Promise<void> {
    await this.#accept(publication, fence);
  }

  isCurrentState({ topic: name, payload }: Pick<IncomingPublication, "topic" | "payload">): boolean {
    const facts = this.#topics.of(name);
    const state = this.#options.journal.state(name);
    if (typeof facts === "string" || state === undefined) return false;
    const { data } = readPublication(facts.topic, payload, this.#now());
    return JSON.stringify(dataOf(state)) === JSON.stringify(data);
  }

  // Nothing is awaited before the append, so positions follow the order of the calls.
  /** @param outside the fence of the task that receives from another broker. Undefined: the embedded broker */
  async #accept(publication: IncomingPublication, outside: Fence | undefined): Promise<Acceptance> {
    const { topic: name, payload, qos } = publication;
    const { maxPayloadBytes: max } = this.#options;
    const facts = this.#topics.of(name);
    if (facts === "malformed") this.#refuse("bad_topic", `"${name}" is not a topic of this system`);
    if (facts === "foreign") {
      this.#stats.foreign++;
      return { forward: true };
    }
    if (payload.length > max)
      this.#refuse("too_large", `the payload has ${payload.length} bytes, more than MAX_PAYLOAD_BYTES ${max}`);
    const problem = this.#channelProblem(facts);
    if (problem !== undefined) this.#refuse("no_channel", problem);
    if (facts.topic.kind === "camera-preview") return this.#acceptPreview(publication, facts, facts.topic, outside);
    if (facts.topic.kind === "camera-command" && this.#commands !== undefined)
      return this.#acceptCommand(publication, facts, facts.topic, this.#commands);
    const message = this.#messageOf(publication, facts);
    const acceptance: Acceptance = { forward: true };
    if (outside !== undefined) keepFromLog(message, outside);
    if (publication.retain && message.state === undefined) acceptance.historical = true;
    if (message.state === "set" && message.body.length > 2 * payload.length + STATE_OVERHEAD_CHARS) {
      // The broker limits retained messages by the bytes of their payloads. As JSON this payload would be much longer,
      // so it is not retained.
      withoutRetaining(message);
      acceptance.notRetained = `it is delivered and not retained: as JSON its ${payload.length} bytes are ${message.body.length} characters`;
    }
    // The journal stores retained messages for MQTT subscribers too, whatever their QoS.
    if (qos === 0 && message.publish === undefined && message.willOf === undefined)
      this.#appendUnawaited(publication, message);
    else acceptance.forward = !(await this.#append(message, payload.length)).duplicate;
    return acceptance;
  }

  async publish(message: BackendEvent): Promise<{ position: number | undefined }> {
    const { tree, journal } = this.#options;
    const { topic, event, data, retain = false, historical = false, sender = BACKEND } = message;
    if (topic.kind === "camera-other" || topic.kind === "service-other")
      throw new RangeError(`the backend publishes nothing to topics of kind ${topic.kind}`);
    const name = tree.build(topic);
    const id = message.id ?? this.#nextId(this.#now());
    const timestamp = new Date(this.#now()).toISOString();
    const isClearing = retain && data === null;
    const dataText = isClearing ? undefined : (message.dataText ?? JSON.stringify(data ?? null));
    const payload = isClearing ? Buffer.alloc(0) : envelopePayload({ id, timestamp, event, historical }, dataText);
    const content: Publication = {
      ...{ event, timestamp, id, historical, dataText, session: undefined, seq: undefined },
      data: isClearing ? clearedData(topic) : data,
    };
    const publication: IncomingPublication = { identity: sender, topic: name, payload, qos: 1, retain };
    const entry = journalMessage(publication, topicFacts(topic, name, this.#options), content, journal);
    entry.fence = message.fence;
    if (message.isRecordOnly) entry.publish = undefined;
    const { position } = await this.#append(entry, payload.length);
    if (position === undefined) {
      // An id that was generated here is new, so the journal cannot have it yet.
      if (message.id === undefined) throw new Error("an event of the backend was taken for a duplicate");
      return { position };
    }
    return { position };
  }

  attachCommands(commands: CommandSink): void {
    this.#commands = commands;
    this.#lostCommands.attach(commands);
  }

  reportLostCommands(): Promise<void> {
    return this.#lostCommands.start();
  }

  timesOf(position: number): EventTimes | undefined {
    return this.#times.of(position);
  }

  stats(): IngestStats {
    return { ...this.#stats };
  }

  #factsOf(name: string): TopicFacts | "foreign" | "malformed" {
    const { tree } = this.#options;
    const topic = tree.parse(name);
    if (topic === undefined) return tree.owns(name) ? "malformed" : "foreign";
    return topicFacts(topic, name, this.#options);
  }

  #messageOf(publication: IncomingPublication, facts: TopicFacts): JournalMessage {
    const { topic } = facts;
    const now = this.#now();
    const content = readPublication(topic, publication.payload, now);
    if (isCurrent(topic, content)) {
      const aheadMs = this.#senderClocks.note(topic.camera, content.timestamp, now);
      if (aheadMs <= 0) this.#latencies.cameraToServer.observe(-aheadMs / 1000);
    }
    const message = content.data === null ? { ...content, data: clearedData(topic) } : content;
    const { journal } = this.#options;
    const entry = journalMessage(publication, facts, message, journal);
    const { payload, qos, publisher, expiresAt, properties } = publication;
    if (qos === 0 && entry.state !== undefined)
      entry.publish = { payload, qos, retain: true, publisher, expiresAt, properties };
    if (publication.willOf !== undefined) entry.willOf = publication.willOf;
    if (publication.quota !== undefined) entry.quota = publication.quota;
    return entry;
  }

  async #append(message: JournalMessage, bytes: number): Promise<Appended> {
    const startedAt = performance.now();
    let appended: Appended;
    try {
      appended = await this.#options.journal.append(message);
    } catch (error) {
      this.#stats.failed++;
      throw error;
    }
    const durableAt = performance.now();
    this.#latencies.append.observe((durableAt - startedAt) / 1000);
    if (appended.duplicate) this.#stats.duplicates++;
    else {
      this.#times.noteDurable(appended.position, startedAt, durableAt);
      this.#stats.accepted++;
      this.#stats.bytes += bytes;
    }
    return appended;
  }

  #appendUnawaited({ identity, topic, payload }: IncomingPublication, message: JournalMessage): void {
    if (this.#unawaited >= MAX_UNAWAITED) {
      this.#drop({ identity, topic }, "too many writes are under way");
      return;
    }
    this.#unawaited++;
    this.#append(message, payload.length)
      .catch((error: unknown) =>
        this.#drop({ identity, topic }, error instanceof Error ? error.message : String(error)),
      )
      .finally(() => this.#unawaited--);
  }

  /** Logs the first drop and every thousandth, so that a failing store does not fill the disk with log lines. */
  #drop(from: { identity: string; topic: string }, reason: string): void {
    if (this.#stats.dropped++ % 1000 === 0)
      this.#options.logger.warn({ ...from, reason, dropped: this.#stats.dropped }, "QoS 0 message dropped");
  }

  /** Records and acknowledges a command. The relay then sends the command to the camera, or a refusal to its sender. */
  async #acceptCommand(
    publication: IncomingPublication,
    facts: TopicFacts,
    { camera, command: name }: TopicOf<"camera-command">,
    { run }: CommandSink,
  ): Promise<Acceptance> {
    const { identity, payload } = publication;
    const message = this.#messageOf(publication, facts);
    // Subscribers get the command that the relay sends.
    message.open = message.publish;
    message.publish = undefined;
    const { position } = await this.#append(message, payload.length);
    let isOpen = position !== undefined;
    const settled = () => {
      if (isOpen && position !== undefined) this.#options.journal.finished(position);
      isOpen = false;
    };
    // After the acknowledgement. The relay already has the command of a duplicate publication.
    if (position !== undefined) {
      const id = commandIdAt(this.#options.journal, position);
      setImmediate(run, { id, identity, payload, camera, name, settled });
    }
    return { forward: false };
  }

  async #acceptPreview(
    publication: IncomingPublication,
    facts: TopicFacts,
    topic: TopicOf<"camera-preview">,
    outside: Fence | undefined,
  ) {
    const senderAheadMs = this.#senderClocks.aheadOf(topic.camera);
    let message: JournalMessage;
    try {
      message = await this.#previews.save(publication, facts, topic, senderAheadMs);
    } catch (error) {
      if (error instanceof PreviewRefusedError) this.#refuse("bad_picture", error.message);
      this.#stats.failed++;
      throw error;
    }
    if (outside !== undefined) keepFromLog(message, outside);
    const { duplicate } = await this.#append(message, publication.payload.length);
    return { forward: !duplicate };
  }

  /**
   * Why the topic's channels accept no message. Only administrators and device tokens can publish for unregistered
   * cameras. Such cameras cannot use the last {@link RESERVED_CHANNELS} channels of the journal.
   */
  #channelProblem({ topic, camera }: TopicFacts): string | undefined {
    const { journal, channels: custom, isRegistered = () => false } = this.#options;
    if (topic.kind === "channel-event")
      return broadcastProblem(topic.channel, { custom, isRegistered, hasChannel: (name) => journal.hasChannel(name) });
    if (camera === undefined || journal.freeChannels > RESERVED_CHANNELS || journal.hasChannel(cameraChannel(camera)))
      return undefined;
    return isRegistered(camera)
      ? undefined
      : `the journal has room for registered cameras only: register ${camera} (npx skylapse camera add ${camera})`;
  }

  /** Not logged here: the broker reports refusals, at a bounded rate. */
  #refuse(reason: RefusalReason, message: string): never {
    this.#stats.refused++;
    throw new PublicationRefusedError(reason, message);
  }
}

/** The subscribers of another broker have the publication already. */
function keepFromLog(message: JournalMessage, fence: Fence): void {
  message.publish = undefined;
  message.fence = fence;
}

/**
 * Whether the timestamp shows the camera's present clock, as that of a birth message or a live event does. A will has
 * an older timestamp: the camera wrote the will before it lost its link.
 */
function isCurrent(topic: Topic, content: Publication): topic is TopicOf<"camera-link" | "camera-event"> {
  if (content.id === undefined || content.historical) return false;
  if (topic.kind === "camera-event") return true;
  return topic.kind === "camera-link" && linkSchema.safeParse(content.data).data?.status === "online";
}

export function channelNotices({ freeChannels }: Pick<Journal, "freeChannels">): string[] {
  return freeChannels > RESERVED_CHANNELS
    ? []
    : [`the journal has room for ${freeChannels} more channels: messages of unregistered cameras are refused`];
}
