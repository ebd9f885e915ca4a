// The first import, because the server must not miss a signal that arrives while the other modules load.
import { stopSignal } from "./stop-signal.ts";

const { serve } = await import("./serve.ts");
await serve(stopSignal);
