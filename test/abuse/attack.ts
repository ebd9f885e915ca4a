import type { AbusedServer, Target } from "./server.ts";

/** What the honest client has published, for the look afterwards. */
export interface Published {
  events: number;
  epoch: string;
  /** The journal's position before its first event. */
  position: number;
}

/** One way in which one client may try to take what all share. */
export interface Attack {
  name: string;
  /** What all share. */
  resource: string;
  /** What the abuser does, and with which credentials. */
  method: string;
  /** Makes what the attack needs, before the honest client is measured the first time. */
  prepare?(target: Target): Promise<void>;
  /** Runs in a process of its own until that is ended. Resolves early when it has nothing left to do. */
  abuse(target: Target): Promise<void>;
  /** The abuser takes places until none is left: it is waited for before {@link verdict} looks. Default false. */
  fills?: boolean;
  /** Looks afterwards at what the honest client's figures cannot show. @returns what is wrong, or undefined */
  verdict?(server: AbusedServer, published: Published): Promise<string | undefined>;
}

/** The address that abusers come from: limits by address are theirs then, not the honest client's. */
export const ABUSER_ADDRESS = "127.0.0.66";
