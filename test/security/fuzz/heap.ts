import { once } from "node:events";
import { WebSocket } from "ws";
import type { Skylapse } from "../../support/skylapse.ts";

/** To be among the environment of a program whose heap is to be measured. */
export const INSPECTED = { NODE_OPTIONS: "--inspect=127.0.0.1:0" };

export interface Heap {
  /** What the program holds after garbage collection: JavaScript heap and buffers outside of it, bytes. */
  used(): Promise<number>;
  close(): void;
}

/** Asks the inspector of Node, so that nothing needs to be built into the program. */
export async function openHeap({ output }: Skylapse): Promise<Heap> {
  const url = /Debugger listening on (ws:\S+)/.exec(output())?.[1];
  if (url === undefined) throw new Error("the program was not started with INSPECTED");
  const socket = new WebSocket(url);
  await once(socket, "open");
  let asked = 0;
  const ask = async (method: string, params = {}) => {
    const id = ++asked;
    socket.send(JSON.stringify({ id, method, params }));
    for (;;) {
      const [data] = await once(socket, "message");
      const message = JSON.parse(String(data));
      if (message.id === id) return message.result;
    }
  };
  return {
    used: async () => {
      // What only finalizers of the first collection free, the second collects.
      await ask("HeapProfiler.collectGarbage");
      await ask("HeapProfiler.collectGarbage");
      const expression = "(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())";
      return Number((await ask("Runtime.evaluate", { expression })).result.value);
    },
    close: () => socket.terminate(),
  };
}

/** What the program printed besides what the inspector says of itself. */
export function withoutInspector(output: string): string {
  return output.replace(/^(Debugger (listening|attached|ending)|For help, see: ).*\n/gm, "");
}
