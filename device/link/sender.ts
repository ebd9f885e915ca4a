import { ulid } from "ulid";
import type { CommandReply } from "../../contract/commands.ts";
import type { Alert, Link } from "../../contract/events.ts";
import type { Topic, TopicTree } from "../../contract/topics.ts";
import type { OutgoingMessage } from "../outbox/outbox.ts";
import { encodeEnvelope } from "./envelope.ts";
import { Uplink, type UplinkOptions } from "./uplink.ts";

type BuildableTopic = Parameters<TopicTree["build"]>[0];

type CommonOptions =
  | "brokerUrl"
  | "outbox"
  | "reconnect"
  | "keepaliveS"
  | "ackTimeoutMs"
  | "connectTimeoutMs"
  | "now"
  | "logger";

export interface SenderOptions extends Pick<UplinkOptions, CommonOptions> {
  tree: TopicTree;
  /** The sending camera or service. Its id is the MQTT user name and part of its topics. */
  owner: { kind: "camera" | "service"; id: string };
  secret: string;
  /** Receives the commands. Default: the camera does not subscribe to commands. */
  onCommand?: (command: string, payload: Buffer) => void;
  onUp?: () => void;
}

export interface EventOptions {
  /** Retains the event. Unlike a state, a waiting event is never replaced. Default false. */
  retain?: boolean;
  at?: Date;
  dedupKey?: string;
}

/** Sends the messages of a camera or service over all its boots. The outbox keeps them while the link is down. */
export class Sender {
  readonly #options: SenderOptions;
  #session = ulid();
  #uplink: Uplink | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  get session(): string {
    return this.#session;
  }

  start(): void {
    this.#session = ulid();
    this.#uplink = this.#createUplink();
    this.#uplink.open();
  }

  /** Publishes a retained state. While it waits, the next one on its topic replaces it. */
  state(topic: BuildableTopic, event: string, data: unknown): void {
    void this.#putEnvelope(topic, "state", event, data, { retain: true });
  }

  /** Raises an alert; undefined clears it. Retained and replaced like a state. */
  alert(topic: Extract<Topic, { kind: "camera-alert" }>, alert: Alert | undefined): void {
    if (alert === undefined) void this.#put(topic, "alert", new Uint8Array(0), { retain: true });
    else void this.#putEnvelope(topic, "alert", "alert.raised", alert, { retain: true });
  }

  reply(topic: Extract<Topic, { kind: "camera-reply" }>, reply: CommandReply): void {
    void this.#putEnvelope(topic, "reply", "command.reply", reply);
  }

  event(topic: BuildableTopic, event: string, data: unknown, options?: EventOptions): Promise<void> {
    return this.#putEnvelope(topic, "event", event, data, options);
  }

  /** Clears a retained topic after earlier messages on it. */
  clear(topic: BuildableTopic): void {
    void this.#put(topic, "event", new Uint8Array(0), { retain: true });
  }

  preview(topic: Extract<Topic, { kind: "camera-preview" }>, jpeg: Uint8Array, takenAt?: Date): void {
    void this.#put(topic, "preview", jpeg, takenAt === undefined ? {} : { at: takenAt });
  }

  /** Publishes the farewell and disconnects. Unsent messages wait for the next {@link start}. */
  async stop(farewell: Omit<Link, "session"> = { status: "offline" }): Promise<void> {
    await this.#uplink?.stop(farewell);
  }

  #putEnvelope(
    topic: BuildableTopic,
    kind: OutgoingMessage["kind"],
    event: string,
    data: unknown,
    { at = this.#options.now(), ...options }: EventOptions = {},
  ): Promise<void> {
    const body = encodeEnvelope({ event, data, at, session: this.#session });
    return this.#put(topic, kind, body, { ...options, at });
  }

  async #put(
    topic: BuildableTopic,
    kind: OutgoingMessage["kind"],
    body: string | Uint8Array,
    { retain = false, at = this.#options.now(), dedupKey }: EventOptions,
  ): Promise<void> {
    const { outbox, tree } = this.#options;
    await outbox.put({ topic: tree.build(topic), kind, retain, at, body }, dedupKey);
    this.#uplink?.pump();
  }

  #createUplink(): Uplink {
    const { owner, tree, secret, onCommand, ...common } = this.#options;
    const { kind, id } = owner;
    const isCamera = kind === "camera";
    return new Uplink({
      ...common,
      clientId: `${kind}-${id}`,
      username: id,
      password: secret,
      session: this.#session,
      linkTopic: tree.build(isCamera ? { kind: "camera-link", camera: id } : { kind: "service-link", service: id }),
      linkEvent: (status) => (isCamera ? `camera.${status}` : "service.link"),
      reportTopic: (event) =>
        tree.build({
          event,
          ...(isCamera ? { kind: "camera-event", camera: id } : { kind: "service-event", service: id }),
        }),
      ...(onCommand === undefined || !isCamera ? {} : { inbound: this.#commandSubscription(onCommand) }),
    });
  }

  #commandSubscription(onCommand: (command: string, payload: Buffer) => void) {
    const { owner, tree } = this.#options;
    return {
      filter: tree.build({ kind: "camera-command", camera: owner.id, command: "any" }).replace(/any$/, "+"),
      onMessage: (topicName: string, payload: Buffer): void => {
        const topic = tree.parse(topicName);
        if (topic?.kind === "camera-command" && topic.camera === owner.id) onCommand(topic.command, payload);
      },
    };
  }
}
