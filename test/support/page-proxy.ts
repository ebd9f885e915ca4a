import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { pipeline } from "node:stream";

/** Answers in place of the server, such as with the files of a later build. Undefined: the server answers. */
type Override = (path: string, original: () => Promise<string>) => Promise<{ type: string; body: string } | undefined>;

/**
 * A reverse proxy below a path, whose address stays while it is off: a page in a browser then has no connection.
 * It sends no X-Forwarded-For, so the server takes the browser for a local one.
 */
export class PageProxy {
  override: Override | undefined;
  readonly #target: URL;
  readonly #path: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  /** @param target such as `http://127.0.0.1:8082` @param path such as `/sky/` */
  constructor(target: string, path: string) {
    this.#target = new URL(target);
    this.#path = path;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}${this.#path}`;
  }

  async start(): Promise<void> {
    const server = createServer((incoming, outgoing) => {
      void this.#answer(incoming).then(
        async (answer) => {
          if (answer !== undefined) {
            outgoing.setHeader("content-type", answer.type);
            outgoing.setHeader("cache-control", "no-cache");
            outgoing.end(answer.body);
            return;
          }
          const forwarded = request(this.#options(incoming), (answered) => {
            outgoing.writeHead(answered.statusCode ?? 502, answered.headers);
            // Ends both after a fault of one: a browser would wait forever for the rest of a response.
            pipeline(answered, outgoing, () => {});
          });
          forwarded.on("error", () => outgoing.destroy());
          incoming.pipe(forwarded);
        },
        () => outgoing.destroy(),
      );
    });
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    server.on("upgrade", (incoming, socket: Socket, head) => {
      const upstream = connect(Number(this.#target.port), this.#target.hostname, () => {
        const headers = incoming.rawHeaders.flatMap((text, index, all) =>
          index % 2 ? [] : [`${text}: ${all[index + 1]}`],
        );
        upstream.write(`GET ${this.#below(incoming)} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
        upstream.write(head);
        socket.pipe(upstream).pipe(socket);
      });
      upstream.on("error", () => socket.destroy());
      socket.on("error", () => upstream.destroy());
      socket.on("close", () => upstream.destroy());
    });
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (typeof address === "object" && address !== null) this.#port = address.port;
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }

  async #answer(incoming: IncomingMessage): ReturnType<Override> {
    const path = this.#below(incoming);
    const original = async () => (await fetch(new URL(path, this.#target))).text();
    return this.override?.(path.split("?")[0] ?? "", original);
  }

  #options(incoming: IncomingMessage) {
    const { hostname, port } = this.#target;
    return { hostname, port, path: this.#below(incoming), method: incoming.method, headers: incoming.headers };
  }

  #below({ url = "/" }: IncomingMessage): string {
    return url.startsWith(this.#path) ? url.slice(this.#path.length - 1) : url;
  }
}
