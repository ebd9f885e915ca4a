import type { Logger } from "pino";
import { ulid } from "ulid";
import type { CommandReply } from "../../contract/commands.ts";
import type { Alert, Link } from "../../contract/events.ts";
import type { Topic, TopicTree } from "../../contract/topics.ts";
import type { BackoffOptions } from "../../platform/backoff.ts";
import type { Outbox, OutgoingMessage } from "../outbox/outbox.ts";
import { encodeEnvelope } from "./envelope.ts";
import { Uplink } from "./uplink.ts";

type Buildable = Parameters<TopicTree["build"]>[0];

export interface SenderOptions {
  brokerUrl: string;
  tree: TopicTree;
  /** Whose name it speaks in: the user name it logs in with, and the prefix of its topics. */
  owner: { kind: "camera" | "service"; id: string };
  secret: string;
  outbox: Outbox;
  /** Commands that arrive. Default: none are listened to. */
  onCommand?: (command: string, payload: Buffer) => void;
  /** Called at every birth: time to say again what is true now. */
  onUp?: () => void;
  reconnect: BackoffOptions;
  /** Default: that of the uplink. */
  keepaliveS?: number;
  ackTimeoutMs?: number;
  connectTimeoutMs?: number;
  now: () => Date;
  logger: Logger;
}

/** Speaks for one camera or service, over as many boots as it has. What it is told to send is sent, link or no link. */
export class Sender {
  readonly #options: SenderOptions;
  #session = ulid();
  #uplink: Uplink | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Names the current boot. */
  get session(): string {
    return this.#session;
  }

  /** True while the broker is reachable and knows that we are there. */
  get up(): boolean {
    return this.#uplink?.up ?? false;
  }

  start(): void {
    this.#session = ulid();
    this.#uplink = this.#createUplink();
    this.#uplink.open();
  }

  /** What is true now: retained, and replaced by the next of its topic while it waits. */
  state(topic: Buildable, event: string, data: unknown): void {
    void this.#say(topic, "state", true, event, data);
  }

  /** Raises an alert, or clears it when there is none: retained, and replaced by the next of its topic while it waits. */
  alert(topic: Extract<Topic, { kind: "camera-alert" }>, alert: Alert | undefined): void {
    if (alert === undefined) void this.#put(topic, "alert", true, new Uint8Array(0));
    else void this.#say(topic, "alert", true, "alert.raised", alert);
  }

  /** Answers a command. */
  reply(topic: Extract<Topic, { kind: "camera-reply" }>, reply: CommandReply): void {
    void this.#say(topic, "reply", false, "command.reply", reply);
  }

  /**
   * What happened. Resolves when it is kept.
   * @param options.retain keeps it for those who come later; unlike a state, it is never replaced unsent. Default false
   * @param options.at when it happened. Default: now
   * @param options.mark remembered in the same write: see the outbox' marks
   */
  event(
    topic: Buildable,
    event: string,
    data: unknown,
    { retain = false, at, mark }: { retain?: boolean; at?: Date; mark?: string } = {},
  ): Promise<void> {
    return this.#say(topic, "event", retain, event, data, at, mark);
  }

  /** Clears a retained topic, after everything said on it. */
  clear(topic: Buildable): void {
    void this.#put(topic, "event", true, new Uint8Array(0));
  }

  /** @param takenAt Default: now */
  preview(topic: Extract<Topic, { kind: "camera-preview" }>, jpeg: Uint8Array, takenAt?: Date): void {
    void this.#put(topic, "preview", false, jpeg, takenAt);
  }

  /** Says goodbye and disconnects, within some 1.3 s. What is unsent stays in the outbox for the next {@link start}. */
  async stop(farewell: Omit<Link, "session"> = { status: "offline" }): Promise<void> {
    await this.#uplink?.stop(farewell);
  }

  #say(
    topic: Buildable,
    kind: OutgoingMessage["kind"],
    retain: boolean,
    event: string,
    data: unknown,
    at = this.#options.now(),
    mark?: string,
  ): Promise<void> {
    const body = encodeEnvelope({ event, data, at, session: this.#session });
    return this.#put(topic, kind, retain, body, at, mark);
  }

  async #put(
    topic: Buildable,
    kind: OutgoingMessage["kind"],
    retain: boolean,
    body: string | Uint8Array,
    at = this.#options.now(),
    mark?: string,
  ): Promise<void> {
    const { outbox, tree } = this.#options;
    await outbox.put({ topic: tree.build(topic), kind, retain, at, body }, mark);
    this.#uplink?.pump();
  }

  #createUplink(): Uplink {
    const { owner, tree, secret, onCommand, onUp, keepaliveS, ackTimeoutMs, connectTimeoutMs, ...common } =
      this.#options;
    const camera = owner.kind === "camera";
    return new Uplink({
      ...common,
      clientId: `${owner.kind}-${owner.id}`,
      username: owner.id,
      password: secret,
      session: this.#session,
      linkTopic: tree.build(
        camera ? { kind: "camera-link", camera: owner.id } : { kind: "service-link", service: owner.id },
      ),
      linkEvent: (status) => (camera ? `camera.${status}` : "service.link"),
      reportTopic: (event) =>
        tree.build(
          camera
            ? { kind: "camera-event", camera: owner.id, event }
            : { kind: "service-event", service: owner.id, event },
        ),
      ...(onUp === undefined ? {} : { onUp }),
      ...(keepaliveS === undefined ? {} : { keepaliveS }),
      ...(ackTimeoutMs === undefined ? {} : { ackTimeoutMs }),
      ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
      ...(onCommand === undefined || !camera ? {} : { inbound: this.#commands(onCommand) }),
    });
  }

  #commands(onCommand: (command: string, payload: Buffer) => void) {
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
