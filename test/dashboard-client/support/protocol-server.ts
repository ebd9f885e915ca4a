import { once } from "node:events";
import { type WebSocket, WebSocketServer } from "ws";
import {
  type ClientMessage,
  clientMessageSchema,
  type DashboardEvent,
  type ServerMessage,
} from "../../../contract/socket-messages.ts";

type MessageOf<Type extends ClientMessage["type"]> = Extract<ClientMessage, { type: Type }>;

/** The server side of one WebSocket. */
export class ProtocolConnection {
  readonly received: ClientMessage[] = [];
  readonly channels = new Set<string>();
  readonly closed: Promise<number>;
  readonly #socket: WebSocket;
  readonly #watchers = new Set<() => void>();

  constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = once(socket, "close").then(([code]) => Number(code));
  }

  take(message: ClientMessage): void {
    this.received.push(message);
    for (const watch of [...this.#watchers]) watch();
  }

  send(message: ServerMessage): void {
    this.sendText(JSON.stringify(message));
  }

  sendText(text: string): void {
    this.#socket.send(text);
  }

  sendBytes(bytes: Buffer): void {
    this.#socket.send(bytes, { binary: true });
  }

  close(code: number, reason = ""): void {
    this.#socket.close(code, reason);
  }

  /** Ends the connection without a close frame. */
  cut(): void {
    this.#socket.terminate();
  }

  /** Resolves to the first matching message of this type, whether it has arrived already or arrives later. */
  next<Type extends ClientMessage["type"]>(
    type: Type,
    fits: (message: MessageOf<Type>) => boolean = () => true,
  ): Promise<MessageOf<Type>> {
    const isIt = (message: ClientMessage): message is MessageOf<Type> =>
      message.type === type && fits(message as MessageOf<Type>);
    return new Promise((resolve) => {
      const watch = (): void => {
        const found = this.received.find(isIt);
        if (found === undefined) return;
        this.#watchers.delete(watch);
        resolve(found);
      };
      this.#watchers.add(watch);
      watch();
    });
  }
}

export interface Script {
  /** Each function replaces one behaviour of a correct server. */
  auth?: (connection: ProtocolConnection, message: MessageOf<"auth">) => void;
  subscribe?: (connection: ProtocolConnection, message: MessageOf<"subscribe">) => void;
  command?: (connection: ProtocolConnection, message: MessageOf<"command">) => void;
  ping?: (connection: ProtocolConnection, message: MessageOf<"ping">) => void;
  /** Seconds. Default 25. */
  pingInterval?: number;
  /** Seconds. Default 900. */
  expiresIn?: number;
}

/**
 * A real WebSocket server with a journal in memory. It follows the protocol, except where a test replaces its
 * behaviour.
 */
export class ProtocolServer {
  readonly connections: ProtocolConnection[] = [];
  readonly script: Script = {};
  readonly url: string;
  epoch = "first";
  /** The server keeps only the events above this position. */
  trimmedTo = 0;
  journal: DashboardEvent[] = [];
  state = new Map<string, DashboardEvent>();
  readonly #server: WebSocketServer;
  readonly #watchers = new Set<() => void>();

  constructor(server: WebSocketServer) {
    this.#server = server;
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    this.url = `ws://127.0.0.1:${address.port}/ws`;
    server.on("connection", (socket) => {
      const connection = new ProtocolConnection(socket);
      this.connections.push(connection);
      socket.on("message", (data) => {
        const message = clientMessageSchema.parse(JSON.parse(String(data)));
        connection.take(message);
        this.#answer(connection, message);
      });
      for (const watch of [...this.#watchers]) watch();
    });
  }

  get head(): number {
    return this.journal.at(-1)?.position ?? this.trimmedTo;
  }

  /** Resolves to the connection with this number, counted from 0, once it is open. */
  connection(index: number): Promise<ProtocolConnection> {
    return new Promise((resolve) => {
      const watch = (): void => {
        const found = this.connections[index];
        if (found === undefined) return;
        this.#watchers.delete(watch);
        resolve(found);
      };
      this.#watchers.add(watch);
      watch();
    });
  }

  /** Appends an event and sends it to the subscribers of its channels. */
  publish(event: Partial<DashboardEvent> & { channels?: string[] }): DashboardEvent {
    const { channels = ["dashboard"], ...fields } = event;
    const kept: DashboardEvent = {
      type: "dashboard_event",
      event: "capture.completed",
      data: {},
      timestamp: "2026-03-01T06:30:00.000Z",
      channel: channels[0] ?? "dashboard",
      channels,
      position: this.head + 1,
      ...fields,
    };
    this.journal.push(kept);
    if (kept.topic !== undefined) this.state.set(kept.topic, kept);
    for (const connection of this.connections) this.deliver(connection, kept);
    return kept;
  }

  /** Sends the event once, and names the channels only if several match, as the protocol defines. */
  deliver(connection: ProtocolConnection, event: DashboardEvent, only?: string): void {
    const { channels: all = [event.channel], ...fields } = event;
    const channels = only === undefined ? all.filter((channel) => connection.channels.has(channel)) : [only];
    const [channel] = channels;
    if (channel === undefined) return;
    connection.send({ ...fields, channel, ...(channels.length > 1 ? { channels } : {}) });
  }

  welcome(connection: ProtocolConnection): void {
    connection.send({
      type: "auth_success",
      connection_id: `connection-${this.connections.indexOf(connection)}`,
      user_id: "alice",
      permissions: ["dashboard:read", "camera:control"],
      expires_in: this.script.expiresIn ?? 900,
      ping_interval: this.script.pingInterval ?? 25,
    });
  }

  subscribe(connection: ProtocolConnection, { channel, since, id }: MessageOf<"subscribe">): void {
    const result = { type: "subscription_result", channel, success: true, epoch: this.epoch, id } as const;
    const { head, trimmedTo } = this;
    const reason =
      since === undefined
        ? undefined
        : since.epoch !== this.epoch
          ? "epoch_changed"
          : since.position > head
            ? "ahead"
            : since.position < trimmedTo
              ? "trimmed"
              : undefined;
    connection.channels.add(channel);
    if (since !== undefined && reason === undefined) {
      connection.send({ ...result, position: head, recovered: true });
      for (const event of this.#of(channel))
        if (event.position > since.position) this.deliver(connection, event, channel);
    } else {
      const gap = since === undefined ? undefined : { after: since.position, before: head + 1 };
      connection.send({
        ...{ ...result, position: head },
        ...(reason === undefined || gap === undefined ? {} : { recovered: false, reason, gap }),
      });
      for (const event of this.state.values()) {
        if (event.channels?.includes(channel)) this.deliver(connection, { ...event, snapshot: true }, channel);
      }
    }
    connection.send({ type: "caught_up", channel, position: head });
  }

  async stop(): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #of(channel: string): DashboardEvent[] {
    return this.journal.filter((event) => event.channels?.includes(channel));
  }

  #answer(connection: ProtocolConnection, message: ClientMessage): void {
    switch (message.type) {
      case "auth":
        if (this.script.auth === undefined) this.welcome(connection);
        else this.script.auth(connection, message);
        break;
      case "subscribe":
        if (this.script.subscribe === undefined) this.subscribe(connection, message);
        else this.script.subscribe(connection, message);
        break;
      case "unsubscribe":
        connection.channels.delete(message.channel);
        connection.send({ type: "unsubscription_result", channel: message.channel, success: true, id: message.id });
        break;
      case "command":
        this.script.command?.(connection, message);
        break;
      case "ping":
        if (this.script.ping === undefined) connection.send({ type: "pong", id: message.id });
        else this.script.ping(connection, message);
        break;
      case "pong":
        break;
    }
  }
}

export async function startProtocolServer(port = 0): Promise<ProtocolServer> {
  const server = new WebSocketServer({ host: "127.0.0.1", port });
  await once(server, "listening");
  return new ProtocolServer(server);
}
