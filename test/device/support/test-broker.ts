import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Aedes, type PublishPacket } from "aedes";
import { freePort } from "../../support/ports.ts";

export interface Received {
  topic: string;
  payload: Buffer;
  retain: boolean;
  qos: number;
}

/** A real broker that allows everything and records all publications, including wills. */
export class TestBroker {
  readonly received: Received[] = [];
  /** When true, publications are neither acknowledged nor recorded. */
  deaf = false;
  /**
   * Selects the publications that make the broker close the connection. MQTT 3.1.1 has no other refusal [MQTT-3.3.5-2].
   */
  refuses: (topic: string) => boolean = () => false;
  #aedes: Aedes | undefined;
  #server: Server | undefined;
  #port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #checks = new Set<() => void>();
  readonly connects: { id: string; username: string | undefined; password: string | undefined; clean: boolean }[] = [];

  /** The keep-alive of each CONNECT, seconds. */
  readonly keepalives: number[] = [];

  get url(): string {
    return `mqtt://127.0.0.1:${this.#port}`;
  }

  /** Opens again on the same port without any data, like a broker that lost its disk. */
  async open(): Promise<this> {
    const aedes = await Aedes.createBroker();
    aedes.preConnect = (_client, { keepalive = 0 }, done) => {
      this.keepalives.push(keepalive);
      done(null, true);
    };
    aedes.authenticate = (client, username, password, done) => {
      this.connects.push({ id: client.id, username, password: password?.toString(), clean: client.clean });
      this.#check();
      done(null, true);
    };
    aedes.authorizePublish = (client, packet, done) => {
      if (this.deaf && client !== null) return;
      if (client !== null && this.refuses(packet.topic)) return done(new Error("refused"));
      this.#remember(packet);
      done(null);
    };
    const server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      aedes.handle(socket);
    });
    this.#port ||= await freePort();
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#aedes = aedes;
    this.#server = server;
    return this;
  }

  /** Closes as if the cable was pulled: without DISCONNECT, and without acknowledging messages in flight. */
  async close(): Promise<void> {
    const [server, aedes] = [this.#server, this.#aedes];
    this.#server = undefined;
    this.#aedes = undefined;
    if (server === undefined || aedes === undefined) return;
    const closed = once(server, "close");
    server.close();
    this.cut();
    await closed;
    await new Promise<void>((resolve) => aedes.close(() => resolve()));
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  get clients(): number {
    return this.#sockets.size;
  }

  async publish(topic: string, payload: unknown): Promise<void> {
    const body = typeof payload === "string" ? payload : JSON.stringify(payload);
    const packet = { cmd: "publish", topic, payload: Buffer.from(body), qos: 1, retain: false, dup: false } as const;
    await new Promise<void>((resolve, reject) =>
      this.#aedes?.publish(packet, (error) => (error ? reject(error) : resolve())),
    );
  }

  /** The retained payload of a topic, or undefined. */
  retained(topic: string): Buffer | undefined {
    const last = this.received.findLast((message) => message.topic === topic && message.retain);
    return last === undefined || last.payload.length === 0 ? undefined : last.payload;
  }

  on(topic: string): Received[] {
    return this.received.filter((message) => message.topic === topic);
  }

  /** Calls `what` at every arrival, and resolves to its first result that is neither undefined nor false. */
  async until<T>(what: () => T | undefined | false, ms = 28_000): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#checks.delete(check);
        reject(new Error(`never came; received: ${this.received.map(({ topic }) => topic).join(" ")}`));
      }, ms);
      const check = (): void => {
        const value = what();
        if (value === undefined || value === false) return;
        clearTimeout(timer);
        this.#checks.delete(check);
        resolve(value);
      };
      this.#checks.add(check);
      check();
    });
  }

  #remember({ topic, payload, retain, qos }: PublishPacket): void {
    this.received.push({ topic, payload: Buffer.from(payload), retain, qos });
    this.#check();
  }

  #check(): void {
    for (const check of [...this.#checks]) check();
  }
}
