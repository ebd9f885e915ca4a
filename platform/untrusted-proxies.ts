import type { IncomingMessage } from "node:http";
import { plainAddress } from "./addresses.ts";
import type { ClientAddresses } from "./client-addresses.ts";
import { LimitedLog } from "./limited-log.ts";
import { Occurrences } from "./occurrences.ts";

/** A proxy that is not named is no event of the moment: a line an hour. */
const LOG_INTERVAL_MS = 3_600_000;
const FORWARDED_FOR = ["x-forwarded-for", "forwarded", "x-real-ip"];

export interface ForwardingWatch {
  /** Looks whether the request was forwarded by a peer that is not trusted to say for whom. */
  look(request: IncomingMessage): void;
  /** Peers that forwarded requests since the start, and how often. */
  list(): ReturnType<Occurrences["list"]>;
  stop(): void;
}

/** What an operator does about a peer that forwards requests. */
export function proxyAdvice(address: string): string {
  return `requests from ${address} say that they are forwarded for others: if ${address} is your proxy, set TRUSTED_PROXIES=${address}, else all its clients count as one address, and one of them can use up what the others may do`;
}

export function watchForwarding({
  addresses,
  warn,
}: {
  addresses: Pick<ClientAddresses, "trusts">;
  warn: (fields: { address: string; times: number }, message: string) => void;
}): ForwardingWatch {
  const log = new LimitedLog({ intervalMs: LOG_INTERVAL_MS });
  const sightings = new Occurrences(log);
  return {
    look({ headers, socket }) {
      if (FORWARDED_FOR.every((name) => headers[name] === undefined)) return;
      const address = plainAddress(socket.remoteAddress ?? "");
      if (!addresses.trusts(address))
        sightings.note(address, (times) => warn({ address, times }, proxyAdvice(address)));
    },
    list: () => sightings.list(),
    stop: () => log.stop(),
  };
}
