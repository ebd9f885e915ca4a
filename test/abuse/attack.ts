import type { AbusedServer, Target } from "./server.ts";

/** The honest client's publications, for the check afterwards. */
export interface Published {
  events: number;
  epoch: string;
  /** The journal's position before the honest client's first event. */
  position: number;
}

/** One way in which a client may try to use up a shared resource. */
export interface Attack {
  name: string;
  /** The shared resource. */
  resource: string;
  /** What the abuser does, and with which credentials. */
  method: string;
  /** Prepares the attack, before the first measurement of the honest client. */
  prepare?(target: Target): Promise<void>;
  /** Runs in a process of its own until that process is killed. Resolves early if nothing is left to do. */
  abuse(target: Target): Promise<void>;
  /** Whether {@link verdict} is called only after the abuser has taken all places that it can get. Default false. */
  fills?: boolean;
  /** Checks afterwards what the honest client's measurements cannot show. @returns what is wrong, or undefined */
  verdict?(server: AbusedServer, published: Published): Promise<string | undefined>;
}

/** The abusers have an address of their own, so that limits per address do not affect the honest client. */
export const ABUSER_ADDRESS = "127.0.0.66";
