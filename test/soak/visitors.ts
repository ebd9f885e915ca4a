import { setTimeout as sleep } from "node:timers/promises";
import { findNumber, readNumber, readSentMicros } from "../bench/load/event.ts";
import { LeanWebSocket } from "../bench/load/web-socket.ts";
import { clockMicros } from "../bench/process-cpu.ts";

export interface VisitorsOptions {
  port: number;
  tokens: readonly string[];
  /** Number of open dashboards. */
  atOnce: number;
}

const STAY_SECONDS = 60;
/** One of this many events has its latency measured. */
const SAMPLED_EVENTS = 10;

/** Dashboards that connect, watch and disconnect. Each dashboard must receive all events of its connection in order. */
export class Visitors {
  opened = 0;
  readonly failures: string[] = [];
  readonly #options: VisitorsOptions;
  readonly #open: LeanWebSocket[] = [];
  #latencies: number[] = [];

  constructor(options: VisitorsOptions) {
    this.#options = options;
  }

  async run(until: AbortSignal): Promise<void> {
    const { atOnce } = this.#options;
    for (let index = 0; index < atOnce; index++) await this.#come();
    while (!until.aborted) {
      await sleep((STAY_SECONDS * 1000) / atOnce);
      this.#open.shift()?.destroy();
      await this.#come();
    }
  }

  /** The 99th percentile of the latency from camera to screen since the last call. */
  takeP99Ms(): number {
    const sorted = Float64Array.from(this.#latencies).sort();
    this.#latencies = [];
    return (sorted[Math.floor(sorted.length * 0.99)] ?? 0) / 1000;
  }

  close(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async #come(): Promise<void> {
    const { port, tokens } = this.#options;
    const name = `dashboard ${this.opened}`;
    const token = tokens[this.opened++ % tokens.length] ?? "";
    let expected: number | undefined;
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string) => {
        this.failures.push(`${name}: ${why}`);
        reject(new Error(`${name}: ${why}`));
      };
      const socket: LeanWebSocket = new LeanWebSocket({
        port,
        path: "/ws",
        onText: (buffer, start, end) => {
          const at = findNumber(buffer, start, end);
          if (at !== -1) {
            const number = readNumber(buffer, at);
            if (expected !== undefined && number !== expected) fail(`was to get event ${expected} and got ${number}`);
            expected = number + 1;
            if (number % SAMPLED_EVENTS === 0) this.#latencies.push(clockMicros() - readSentMicros(buffer, at));
            return;
          }
          const head = buffer.toString("latin1", start, Math.min(end, start + 40));
          if (head.startsWith('{"type":"ping"')) socket.send('{"type":"pong"}');
          else if (head.startsWith('{"type":"auth_success"')) socket.send('{"type":"subscribe","channel":"dashboard"}');
          else if (head.startsWith('{"type":"subscription_result"')) resolve();
          else if (/^\{"type":"(auth_error|error|lagging)"/.test(head)) fail(buffer.toString("utf8", start, end));
        },
        onClose: fail,
      });
      this.#open.push(socket);
      socket.open().then(() => socket.send(JSON.stringify({ type: "auth", token })), reject);
    });
  }
}
