import { useCallback, useEffect, useRef, useState } from "react";
import type { Client } from "../client/client.ts";
import type { CommandOptions, CommandResult } from "../client/commands.ts";
import { useClient } from "./real-time-provider.tsx";

/** - `pending`: `progress` is the last report, undefined until the server has answered.
 * - `done`: the outcome arrived, success or failure.
 * - `failed`: there is no outcome. With `OutcomeUnknownError` the camera may still carry out the command. */
export type CommandProgress =
  | { status: "idle" }
  | { status: "pending"; progress: CommandResult | undefined }
  | { status: "done"; result: CommandResult }
  | { status: "failed"; error: unknown };

export interface SentCommand {
  /** The state of the newest command that this component sent. */
  state: CommandProgress;
  /** Sends a command to the camera. Never throws: `state` contains the error. */
  send(name: string, args?: Record<string, unknown>, options?: Pick<CommandOptions, "expiresIn">): Promise<void>;
}

/**
 * Sends commands to a camera, and reports the progress of the newest one.
 * @param camera the id of the camera
 * @param options.client default: the client of the nearest `RealTimeProvider`
 */
export function useCommand(camera: string, options: { client?: Client } = {}): SentCommand {
  const client = useClient(options.client);
  const [state, setState] = useState<CommandProgress>({ status: "idle" });
  const newest = useRef(0);
  // Reports about an earlier command, another camera, or for a removed component are ignored.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the effect ends the commands of the camera before.
  useEffect(() => {
    setState({ status: "idle" });
    return () => {
      newest.current++;
    };
  }, [client, camera]);
  const send: SentCommand["send"] = useCallback(
    async (name, args = {}, sendOptions = {}) => {
      const number = ++newest.current;
      const show = (next: CommandProgress): void => {
        if (number === newest.current) setState(next);
      };
      show({ status: "pending", progress: undefined });
      const onProgress = (progress: CommandResult): void => show({ status: "pending", progress });
      await client.command(camera, name, args, { ...sendOptions, onProgress }).then(
        (result) => show({ status: "done", result }),
        (error: unknown) => show({ status: "failed", error }),
      );
    },
    [client, camera],
  );
  return { state, send };
}
