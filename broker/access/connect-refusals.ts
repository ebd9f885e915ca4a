import type { Logger } from "pino";
import { isId } from "../../contract/ids.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { AccessRefusal } from "../../platform/identity.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { Origin } from "./admission.ts";
import { MAX_CLIENT_ID_LENGTH } from "./connect-packet.ts";
import type { Devices } from "./devices.ts";
import { ConnackCode, RefusedConnectionError } from "./errors.ts";
import { RefusedDevices } from "./refused-devices.ts";
import { namesOf } from "./session-names.ts";

/** Beyond this many refused CONNECTs in a minute, the answers to an address are delayed. */
const PROMPT_REFUSALS_PER_MINUTE = 30;
const REFUSAL_DELAY_MS = 1000;

interface ConnectRefusalsOptions {
  devices: Pick<Devices, "get">;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

interface RefusedConnect {
  clientId: string;
  username: string | undefined;
  origin: Origin;
}

/** Logs, counts and audits refused CONNECTs, and delays the answers to an address with many of them. */
export class ConnectRefusals {
  readonly #options: ConnectRefusalsOptions;
  readonly #refusedByAddress = new FixedWindowCounter();
  readonly #log = new LimitedLog();
  readonly devices = new RefusedDevices();
  count = 0;

  constructor(options: ConnectRefusalsOptions) {
    this.#options = options;
  }

  /** @param answer called with the error for Aedes, delayed for an address with many refusals */
  add(connect: RefusedConnect, error: unknown, answer: (error: RefusedConnectionError) => void): void {
    this.count++;
    const { devices, onRefused, logger } = this.#options;
    const { address, transport } = connect.origin;
    const clientId = connect.clientId.slice(0, MAX_CLIENT_ID_LENGTH);
    // A user name that is not an id is not logged: it may be a misplaced secret or token.
    const username = connect.username !== undefined && isId(connect.username) ? connect.username : undefined;
    const fields = { address, transport, ...namesOf({ clientId }), username };
    if (!(error instanceof RefusedConnectionError)) {
      logger.error({ ...fields, err: error }, "client could not be authenticated: internal error");
      answer(new RefusedConnectionError(ConnackCode.serverUnavailable, "the broker failed"));
      return;
    }
    const outcome = `connack ${error.returnCode}`;
    onRefused({ action: "connect", who: "unknown", address, target: `mqtt:${clientId}`, outcome });
    if (username !== undefined && devices.get(username) !== undefined)
      this.devices.note(username, address, error.message);
    this.#log.note(`${address} ${username}`, (times) =>
      logger.warn({ ...fields, why: error.message, times }, "client refused"),
    );
    this.#answer(address, error, answer);
  }

  stop(): void {
    this.#log.stop();
  }

  /** Slows down guesses at secrets. */
  #answer(address: string, error: RefusedConnectionError, answer: (error: RefusedConnectionError) => void): void {
    if (this.#refusedByAddress.add(address) <= PROMPT_REFUSALS_PER_MINUTE) answer(error);
    else setTimeout(answer, REFUSAL_DELAY_MS, error).unref();
  }
}
