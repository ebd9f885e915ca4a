import { once } from "node:events";
import { WebSocket } from "ws";
import type { Skylapse } from "../../support/skylapse.ts";

/** The environment of a program whose heap is measured. */
export const INSPECTED = { NODE_OPTIONS: "--inspect=127.0.0.1:0" };

export interface Heap {
  /** Bytes in use after garbage collection: the JavaScript heap and the buffers outside it. */
  used(): Promise<number>;
  close(): void;
}

/** Measures through Node's inspector, so that the program needs no code for it. */
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
      // The second collection frees the memory that the finalizers of the first collection released.
      await ask("HeapProfiler.collectGarbage");
      await ask("HeapProfiler.collectGarbage");
      const expression = "(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())";
      return Number((await ask("Runtime.evaluate", { expression })).result.value);
    },
    close: () => socket.terminate(),
  };
}

/** The output of the program without the messages of the inspector. */
export function withoutInspector(output: string): string {
  return output.replace(/^(Debugger (listening|attached|ending)|For help, see: ).*\n/gm, "");
}
