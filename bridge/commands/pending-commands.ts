import type { ReplyCode } from "../../contract/codes.ts";
import type { CommandStatus } from "../../contract/commands.ts";

export interface CommandUpdate {
  command_id: string;
  camera: string;
  status: CommandStatus;
  result?: unknown;
  error?: string;
  /** Why the relay ended the command; `commandRejected` when the camera rejected it. */
  code?: ReplyCode;
}

/**
 * A pending command. Its statuses:
 *
 * ```
 *   queued ──▶ sent ──▶ delivered ──▶ accepted ──▶ succeeded | failed | rejected | unknown   (the camera's replies)
 *     │          │          └────────────┴───────▶ timed_out   at expires_at: acknowledged, not answered
 *     └──────────┴───────────────────────────────▶ expired     at expires_at: not acknowledged
 * ```
 */
export interface Pending {
  id: string;
  topic: string;
  camera: string;
  /** The identity that issued the command. */
  by: string;
  payload: Buffer;
  status: CommandStatus | "queued";
  onUpdate: (update: CommandUpdate) => void;
  endExpiry: () => void;
  /** The command is the first in the shared queue. */
  isFirst: boolean;
}

/** From now on, `onUpdate` is also called. */
export function callToo(pending: Pending, onUpdate: Pending["onUpdate"]): void {
  const { onUpdate: first } = pending;
  pending.onUpdate = (update) => {
    first(update);
    onUpdate(update);
  };
}

/** One command is in flight at a time, so that the camera runs the commands in the order in which they were issued. */
interface CameraCommands {
  inFlight: Pending | undefined;
  waiting: Pending[];
}

/** The commands that this node has to send, and those that wait for the camera's answer. */
export class PendingCommands {
  readonly #byCamera = new Map<string, CameraCommands>();
  #count = 0;

  /** All commands, waiting or in flight. */
  get count(): number {
    return this.#count;
  }

  get inFlightCount(): number {
    let count = 0;
    for (const { inFlight } of this.#byCamera.values()) if (inFlight !== undefined) count++;
    return count;
  }

  has(camera: string): boolean {
    return this.#byCamera.has(camera);
  }

  waitingFor(camera: string): number {
    return this.#byCamera.get(camera)?.waiting.length ?? 0;
  }

  inFlight(camera: string): Pending | undefined {
    return this.#byCamera.get(camera)?.inFlight;
  }

  find(camera: string, id: string | undefined): Pending | undefined {
    const { inFlight, waiting = [] } = this.#byCamera.get(camera) ?? {};
    return inFlight?.id === id ? inFlight : waiting.find((pending) => pending.id === id);
  }

  all(): Pending[] {
    return [...this.#byCamera.values()].flatMap(({ inFlight, waiting }) =>
      inFlight === undefined ? waiting : [...waiting, inFlight],
    );
  }

  /** The command waits. */
  add(pending: Pending): void {
    const commands = this.#byCamera.get(pending.camera) ?? { inFlight: undefined, waiting: [] };
    commands.waiting.push(pending);
    this.#byCamera.set(pending.camera, commands);
    this.#count++;
  }

  /** @returns the next command, which is in flight from now on; undefined while one is in flight or none may be sent */
  takeNext(camera: string): Pending | undefined {
    const commands = this.#byCamera.get(camera);
    if (commands === undefined || commands.inFlight !== undefined) return undefined;
    const next = commands.waiting.find(({ isFirst }) => isFirst);
    if (next === undefined) return undefined;
    commands.waiting = commands.waiting.filter((other) => other !== next);
    commands.inFlight = next;
    return next;
  }

  /** @returns false when the command is not pending any more */
  remove(pending: Pending): boolean {
    const { camera } = pending;
    const commands = this.#byCamera.get(camera);
    if (commands === undefined) return false;
    if (commands.inFlight === pending) commands.inFlight = undefined;
    else commands.waiting = commands.waiting.filter((other) => other !== pending);
    this.#count--;
    if (commands.inFlight === undefined && commands.waiting.length === 0) this.#byCamera.delete(camera);
    return true;
  }
}
