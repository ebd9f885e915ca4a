import type { BrokerRows } from "../../../../platform/publication-log.ts";

/** A placeholder: the rows of the broker are still in the broker's own store. */
export class RedisBrokerRows implements BrokerRows {
  readonly isFirstNode = true;

  async *load(): AsyncGenerator<readonly [key: string, value: string]> {}

  set(): void {
    throw new Error("rows of the broker cannot be stored in the journal in Redis yet");
  }

  beforeWrite(): () => void {
    return () => {};
  }

  async flush(): Promise<void> {}

  async take(): Promise<undefined> {}

  release(): void {}

  writerOf(): "this" {
    return "this";
  }

  async removeSession(): Promise<boolean> {
    return true;
  }

  follow(): () => void {
    return () => {};
  }
}
