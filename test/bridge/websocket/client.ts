import { onTestFinished } from "vitest";
import { type ClientOptions, WebSocket } from "ws";
import {
  type DashboardEvent,
  type ServerMessage,
  type Since,
  serverMessageSchema,
} from "../../../contract/socket-messages.ts";

type MessageOf<Type extends ServerMessage["type"]> = Extract<ServerMessage, { type: Type }>;

/** A client that sends any frame and records every message, each checked against the contract. */
export class TestClient {
  readonly ws: WebSocket;
  readonly messages: ServerMessage[] = [];
  /** Resolves when the connection is closed, for whatever reason. */
  readonly closed: Promise<{ code: number; reason: string }>;
  #read = 0;
  #notify: (() => void)[] = [];

  constructor(url: string, options: ClientOptions = {}) {
    this.ws = new WebSocket(url, options);
    this.ws.on("message", (bytes) => {
      this.messages.push(serverMessageSchema.parse(JSON.parse(String(bytes))));
      this.#wake();
    });
    this.ws.on("error", () => {});
    this.closed = new Promise((resolve) => {
      this.ws.on("close", (code, reason) => {
        resolve({ code, reason: String(reason) });
        this.#wake();
      });
    });
    onTestFinished(() => this.ws.terminate());
  }

  async opened(): Promise<this> {
    if (this.ws.readyState === WebSocket.CONNECTING)
      await new Promise<void>((resolve, reject) => {
        this.ws.once("open", resolve);
        this.ws.once("error", reject);
      });
    return this;
  }

  send(message: unknown): void {
    this.ws.send(typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  /** The next message of the type that no earlier call has read. */
  async next<Type extends ServerMessage["type"]>(
    type: Type,
    matches: (message: MessageOf<Type>) => boolean = () => true,
  ): Promise<MessageOf<Type>> {
    for (;;) {
      while (this.#read < this.messages.length) {
        const message = this.messages[this.#read++];
        if (isOfType(message, type) && matches(message)) return message;
      }
      await this.#waitForMore(`a message of type ${type}`);
    }
  }

  /** Resolves when at least `count` events have arrived. */
  async events(count: number): Promise<DashboardEvent[]> {
    while (this.dashboardEvents.length < count) await this.#waitForMore(`${count} events`);
    return this.dashboardEvents;
  }

  get dashboardEvents(): DashboardEvent[] {
    return this.messages.filter((message) => message.type === "dashboard_event");
  }

  async subscribe(channel: string, since?: Since): Promise<MessageOf<"subscription_result">> {
    this.send({ type: "subscribe", channel, since });
    return await this.next("subscription_result", (result) => result.channel === channel);
  }

  async #waitForMore(expected: string): Promise<void> {
    if (this.ws.readyState === WebSocket.CLOSED)
      throw new Error(`closed while waiting for ${expected}; got ${JSON.stringify(this.messages.slice(-5))}`);
    await new Promise<void>((resolve) => {
      this.#notify.push(resolve);
    });
  }

  #wake(): void {
    for (const notify of this.#notify.splice(0)) notify();
  }
}

function isOfType<Type extends ServerMessage["type"]>(
  message: ServerMessage | undefined,
  type: Type,
): message is MessageOf<Type> {
  return message?.type === type;
}

export async function connect(url: string, token: string, options?: ClientOptions): Promise<TestClient> {
  const client = await new TestClient(url, options).opened();
  client.send({ type: "auth", token });
  await client.next("auth_success");
  return client;
}
