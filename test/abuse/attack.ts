import type { AbusedServer, Target } from "./server.ts";

/** The honest client's publications, for the final check. */
export interface Published {
  events: number;
  epoch: string;
  /** The journal's position before the honest client's first event. */
  position: number;
}

/** One way to use up a shared resource. */
export interface Attack {
  name: string;
  /** The shared resource. */
  resource: string;
  /** The actions and the credentials of the abuser. */
  method: string;
  /** Prepares the attack, before the first measurement of the honest client. */
  prepare?(target: Target): Promise<void>;
  /** Runs in its own process until the process is killed. Resolves early if no work is left. */
  abuse(target: Target): Promise<void>;
  /** Whether {@link verdict} waits until the abuser has taken all available connections or entries. Default false. */
  fills?: boolean;
  /** How much the peak of the server's resident memory may grow beside the abuser, bytes. Default: no limit. */
  maxGrowthBytes?: number;
  /** Checks effects that the honest client cannot measure. @returns the problem, or undefined */
  verdict?(server: AbusedServer, published: Published): Promise<string | undefined>;
}

/** A separate address of the abusers, so that limits per address do not affect the honest client. */
export const ABUSER_ADDRESS = "127.0.0.66";
