import type { Duplex } from "node:stream";
import type { Throttle } from "./throttled-reading.ts";

interface ProtocolChoiceOptions {
  throttle: Throttle;
  /** Called once, when CONNECT has named the protocol. Then the next `read` of the connection begins with the CONNECT. */
  onChosen(): void;
  /** Called instead if the connection fails before. */
  onFailed(error: Error): void;
}

/** Reads from the connection until its CONNECT names the protocol. */
export class ProtocolChoice {
  readonly #connection: Duplex;
  #options: ProtocolChoiceOptions | undefined;
  readonly #read: Buffer[] = [];

  constructor(connection: Duplex) {
    this.#connection = connection;
    connection.on("readable", this.#look);
    connection.on("end", this.#ended);
    connection.on("error", this.#failed);
  }

  begin(options: ProtocolChoiceOptions): void {
    this.#options = options;
  }

  /** From now on, the connection belongs to others. */
  end(): void {
    this.#options = undefined;
    this.#connection.off("readable", this.#look);
    this.#connection.off("end", this.#ended);
    this.#connection.off("error", this.#failed);
  }

  readonly #look = (): void => {
    const bytes: unknown = this.#connection.read();
    if (Buffer.isBuffer(bytes)) this.#read.push(bytes);
    const options = this.#options;
    if (options === undefined || options.throttle.protocolLevel === undefined) return;
    this.end();
    options.throttle.giveBack(Buffer.concat(this.#read));
    options.onChosen();
    this.#connection.emit("readable");
  };

  readonly #ended = (): void => {
    this.#connection.destroy();
  };

  readonly #failed = (error: Error): void => {
    const options = this.#options;
    this.end();
    options?.onFailed(error);
  };
}
