import type { IncomingMessage } from "node:http";
import { plainAddress } from "./addresses.ts";
import type { ClientAddresses } from "./client-addresses.ts";
import { LimitedLog } from "./limited-log.ts";
import { Occurrences } from "./occurrences.ts";

/** Long, because an unlisted proxy is a lasting fault of the configuration. */
const LOG_INTERVAL_MS = 3_600_000;
const FORWARDED_FOR = ["x-forwarded-for", "forwarded", "x-real-ip"];

/** Whether a proxy has added the address of a client. */
export function isForwarded({ headers }: IncomingMessage): boolean {
  return FORWARDED_FOR.some((name) => headers[name] !== undefined);
}

export interface ForwardingWatch {
  /** Notes an untrusted peer that has forwarded the request. */
  check(request: IncomingMessage): void;
  /** The untrusted peers that have forwarded requests since the start. */
  list(): ReturnType<Occurrences["list"]>;
  stop(): void;
}

/** Explains to an operator how to trust the proxy. */
export function proxyAdvice(address: string): string {
  return `${address} forwards requests of others: if it is your proxy, set TRUSTED_PROXIES=${address}. Until then all its clients share the limits of one address`;
}

interface ForwardingOptions {
  addresses: Pick<ClientAddresses, "trusts">;
  warn: (fields: { address: string; times: number }, message: string) => void;
}

export function watchForwarding({ addresses, warn }: ForwardingOptions): ForwardingWatch {
  const log = new LimitedLog({ intervalMs: LOG_INTERVAL_MS });
  const peers = new Occurrences(log);
  return {
    check(request) {
      if (!isForwarded(request)) return;
      const address = plainAddress(request.socket.remoteAddress ?? "");
      if (!addresses.trusts(address)) peers.note(address, (times) => warn({ address, times }, proxyAdvice(address)));
    },
    list: () => peers.list(),
    stop: () => log.stop(),
  };
}
