/** The store is unavailable and has accepted nothing. The caller may retry. */
export class StoreUnavailableError extends Error {
  override name = "StoreUnavailableError";
}

/** Another node does the task, or may do it by now. Nothing was stored: the caller must stop the task. */
export class LeaseLostError extends Error {
  override name = "LeaseLostError";

  constructor(lease: string) {
    super(
      `this node no longer holds the lease "${lease}", so it stops the task; the node that holds the lease does it`,
    );
  }
}

/** The client has connected to another node, which has its will by now. Nothing was stored: this node drops the will. */
export class ClientTakenError extends Error {
  override name = "ClientTakenError";

  constructor() {
    super("the client has connected to another node, so this node does not publish the will of the earlier connection");
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
