import { z } from "zod";
import { everyRunning } from "../../../platform/running-time.ts";
import type { Cluster, Json } from "../../cluster/cluster.ts";

/** Names of signals between nodes. */
const HEARING = "outside-broker";
const ASK = "outside-broker?";
const REPEAT_MS = 2_000;
/** Longer than a lease lasts after the death of its holder. */
const SILENT_MS = 12_000;

const stateSchema = z.object({
  /** Whether the node that receives is connected. */
  isConnected: z.boolean(),
  /** Whether that node has read everything that waited for it at the broker. */
  isCurrent: z.boolean(),
  /** The journal's newest position at that moment. */
  position: z.number(),
  /** Counts the sessions that the broker has lost. */
  lost: z.number(),
  /** The cameras whose links the broker retained when it had lost the session. Undefined: as in the last state. */
  links: z.array(z.string()).optional(),
});

/** What the node that receives from the other broker tells the other nodes. */
export type HearingState = z.infer<typeof stateSchema>;

interface HearingOptions {
  cluster: Pick<Cluster, "signals" | "nodeId">;
  /** The newest position that this node has read from the journal. */
  head: () => number;
}

/** Whether this installation hears the cameras: one node receives from the broker, and tells the others. */
export class Hearing {
  readonly #options: HearingOptions;
  readonly #unsubscribe: readonly (() => void)[];
  /** This node's own state while it receives. */
  #own: HearingState | undefined;
  #state: HearingState | undefined;
  #silentMs = SILENT_MS;

  constructor(options: HearingOptions) {
    this.#options = options;
    const { signals, nodeId } = options.cluster;
    const ask = () => signals.send(ASK, null);
    this.#unsubscribe = [
      signals.on(HEARING, (message, from) => this.#receive(message, from), ask),
      signals.on(ASK, (_message, from) => {
        if (from !== nodeId) this.#send(true);
      }),
      everyRunning(REPEAT_MS, () => {
        this.#silentMs += REPEAT_MS;
        this.#send(false);
      }),
    ];
    ask();
  }

  /** What the receiving node last said; undefined if no node receives. */
  get state(): HearingState | undefined {
    return this.#own ?? (this.#silentMs < SILENT_MS ? this.#state : undefined);
  }

  /** Whether a node receives what cameras send now, and this node has read all of it up to now. */
  get isCurrent(): boolean {
    const { state } = this;
    return state?.isConnected === true && state.isCurrent && this.#options.head() >= state.position;
  }

  /** Sets this node's state; undefined when this node does not receive any more. */
  set(own: HearingState | undefined): void {
    this.#own = own;
    if (own === undefined) this.#state = undefined;
    this.#send(true);
  }

  stop(): void {
    for (const end of this.#unsubscribe) end();
  }

  /** @param isWhole the list of links is long, and seldom changes */
  #send(isWhole: boolean): void {
    const own = this.#own;
    if (own === undefined) return;
    const { links, ...state } = own;
    this.#options.cluster.signals.send(HEARING, links === undefined || !isWhole ? state : { ...state, links });
  }

  #receive(message: Json, from: string): void {
    const state = stateSchema.safeParse(message).data;
    if (state === undefined || from === this.#options.cluster.nodeId) return;
    const { links } = this.#state?.lost === state.lost ? this.#state : {};
    this.#state = links === undefined || state.links !== undefined ? state : { ...state, links };
    this.#silentMs = 0;
  }
}
