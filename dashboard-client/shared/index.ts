// A client whose connection all tabs of a browser share: `skylapse-realtime/shared`. It imports no package.

export { createSharedClient, type SharedClient, type SharedClientOptions } from "./shared-client.ts";
