import type { Conversation, Dialect, DialectName, Place } from "./dialect.ts";
import { findNumber } from "./event.ts";
import { skylapseDialect } from "./skylapse-dialect.ts";
import { socketIoDialect } from "./socket-io-dialect.ts";
import { Tally } from "./tally.ts";
import { LeanWebSocket } from "./web-socket.ts";

const DIALECTS: Record<DialectName, Dialect> = { skylapse: skylapseDialect, "socket-io": socketIoDialect };

/** Connections that are opened together: fewer than a server's listen backlog of 511. */
const MAX_OPENING = 200;
/** Connections from each loopback address. */
const PER_ADDRESS = 8000;
const READY_TIMEOUT_MS = 60_000;

export interface DashboardsOptions {
  dialect: DialectName;
  port: number;
  /** One token for each dashboard. */
  tokens: readonly string[];
  /** The number of the first event that each dashboard expects. */
  first: number;
  /** Whether each dashboard stores its position after every event, which costs some CPU time. Default false. */
  keepPlaces?: boolean;
  /** The resume position of each dashboard. Default: live events only. */
  since?: readonly Place[];
}

/** Many dashboards of one kind, which connect, authenticate, subscribe, and count received events. */
export class Dashboards {
  readonly tally: Tally;
  /** Number of lagging reports from the server. */
  laggingNotices = 0;
  readonly #options: DashboardsOptions;
  readonly #sockets: LeanWebSocket[] = [];
  readonly #places: Place[] = [];
  readonly #lastEvents: Buffer[] = [];
  readonly #conversations: Conversation[] = [];

  constructor(options: DashboardsOptions) {
    this.#options = options;
    this.tally = new Tally("dashboard", options.tokens.length, options.first);
  }

  /** Resolves when all dashboards are subscribed. */
  async open(): Promise<void> {
    const { length: count } = this.#options.tokens;
    let next = 0;
    const openSome = async () => {
      while (next < count) await this.#openOne(next++);
    };
    await Promise.all(Array.from({ length: Math.min(count, MAX_OPENING) }, openSome));
  }

  async #openOne(index: number): Promise<void> {
    const { dialect: name, port, tokens, since, keepPlaces = false } = this.#options;
    const dialect = DIALECTS[name];
    const conversation = dialect.converse({ token: tokens[index] ?? "", since: since?.[index] });
    this.#conversations[index] = conversation;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => refuse(`was not subscribed within ${READY_TIMEOUT_MS / 1000} s`),
        READY_TIMEOUT_MS,
      );
      const refuse = (problem: string) => {
        clearTimeout(timer);
        this.tally.fail(`dashboard ${index}: ${problem}`);
        reject(new Error(`dashboard ${index}: ${problem}`));
      };
      const hear = (text: string) => {
        const { reply, ready, problem, lagging } = conversation.heard(text);
        if (reply !== undefined) socket.send(reply);
        if (lagging) this.laggingNotices++;
        if (problem !== undefined) refuse(problem);
        if (ready === undefined) return;
        this.#places[index] = ready;
        clearTimeout(timer);
        resolve();
      };
      const socket = new LeanWebSocket({
        port,
        path: dialect.path,
        localAddress: tokens.length > PER_ADDRESS ? `127.0.0.${1 + Math.floor(index / PER_ADDRESS)}` : undefined,
        onText: (buffer, start, end) => {
          const at = findNumber(buffer, start, end);
          if (at === -1) return hear(buffer.toString("utf8", start, end));
          this.tally.record(index, buffer, at);
          if (keepPlaces) this.#lastEvents[index] = Buffer.from(buffer.subarray(start, end));
        },
        onClose: refuse,
      });
      this.#sockets[index] = socket;
      socket.open().then(() => {
        const greeting = conversation.greeting();
        if (greeting !== undefined) socket.send(greeting);
      }, reject);
    });
  }

  /** The position of each dashboard: of its last event if positions are stored, otherwise of its subscription. */
  places(): Place[] {
    return this.#places.map((place, index) => {
      const event = this.#lastEvents[index];
      return (event && this.#conversations[index]?.placeAfter(event.toString())) ?? place;
    });
  }

  pause(): void {
    for (const socket of this.#sockets) socket.pause();
  }

  resume(): void {
    for (const socket of this.#sockets) socket.resume();
  }

  /** Ends all connections without a close frame. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
