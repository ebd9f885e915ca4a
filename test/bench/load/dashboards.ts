import type { Conversation, Dialect, DialectName, Place } from "./dialect.ts";
import { findNumber } from "./event.ts";
import { skylapseDialect } from "./skylapse-dialect.ts";
import { socketIoDialect } from "./socket-io-dialect.ts";
import { Tally } from "./tally.ts";
import { LeanWebSocket } from "./web-socket.ts";

const DIALECTS: Record<DialectName, Dialect> = { skylapse: skylapseDialect, "socket-io": socketIoDialect };

/** Connections that are being opened at one moment: fewer than a server's listen backlog of 511 holds. */
const MAX_OPENING = 200;
/** Connections that come from one loopback address before the next is taken. */
const PER_ADDRESS = 8000;
const READY_TIMEOUT_MS = 60_000;

export interface DashboardsOptions {
  dialect: DialectName;
  port: number;
  /** One for each dashboard. */
  tokens: readonly string[];
  /** The number of the first event that each is to get. */
  first: number;
  /** Remember each dashboard's place after every event, at some cost. Default false. */
  keepPlaces?: boolean;
  /** Where each resumes. Default: with what comes next. */
  since?: readonly Place[];
}

/** Many dashboards of one kind: connected, authenticated, subscribed, and counting what they are sent. */
export class Dashboards {
  readonly tally: Tally;
  /** How often the server told one of them that it reads too slowly. */
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

  /** Resolves when all are subscribed. */
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

  /** Where each dashboard is: after its last event if places are kept, else where it subscribed. */
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

  /** Ends all connections without a goodbye. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
