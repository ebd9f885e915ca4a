/** The package has no types. These are the methods that `level.ts` calls or overrides. */
declare module "aedes-persistence-level/asyncPersistence.js" {
  import type { Readable } from "node:stream";
  import type { Brokers, Subscription } from "aedes";
  import type { ClassicLevel } from "classic-level";

  class AsyncLevelPersistence {
    constructor(db: ClassicLevel<string, Buffer>);
    setup(broker: { id: string }): Promise<void>;
    storeRetained(packet: AsyncLevelPersistence.StoredPacket): Promise<void>;
    createRetainedStream(filter: string): Readable;
    createRetainedStreamCombi(filters: string[]): Readable;
    addSubscriptions(client: AsyncLevelPersistence.Session, subscriptions: Subscription[]): Promise<void>;
    removeSubscriptions(client: AsyncLevelPersistence.Session, filters: string[]): Promise<void>;
    subscriptionsByClient(client: AsyncLevelPersistence.Session): Promise<Subscription[]>;
    subscriptionsByTopic(topic: string): Promise<AsyncLevelPersistence.StoredSubscription[]>;
    cleanSubscriptions(client: AsyncLevelPersistence.Session): Promise<void>;
    countOffline(): Promise<{ subsCount: number; clientsCount: number }>;
    outgoingEnqueue(
      subscription: AsyncLevelPersistence.StoredSubscription,
      packet: AsyncLevelPersistence.StoredPacket,
    ): Promise<void>;
    outgoingEnqueueCombi(
      subscriptions: AsyncLevelPersistence.StoredSubscription[],
      packet: AsyncLevelPersistence.StoredPacket,
    ): Promise<void>;
    outgoingUpdate(client: AsyncLevelPersistence.Session, packet: AsyncLevelPersistence.OutgoingUpdate): Promise<void>;
    outgoingClearMessageId(
      client: AsyncLevelPersistence.Session,
      packet: AsyncLevelPersistence.Cleared,
    ): Promise<unknown>;
    outgoingStream(client: AsyncLevelPersistence.Session): Readable;
    incomingStorePacket(
      client: AsyncLevelPersistence.Session,
      packet: AsyncLevelPersistence.StoredPacket,
    ): Promise<void>;
    incomingGetPacket(client: AsyncLevelPersistence.Session, packet: { messageId?: number }): Promise<unknown>;
    incomingDelPacket(client: AsyncLevelPersistence.Session, packet: { messageId?: number }): Promise<void>;
    cleanIncoming(client: AsyncLevelPersistence.Session): Promise<void>;
    putWill(client: AsyncLevelPersistence.Session, will: object): Promise<void>;
    delWill(client: AsyncLevelPersistence.Session): Promise<unknown>;
    streamWill(brokers?: Brokers): Readable;
    destroy(): Promise<void>;
  }

  namespace AsyncLevelPersistence {
    interface Session {
      id: string;
      clean?: boolean;
      closed?: boolean;
    }

    interface StoredSubscription {
      clientId: string;
      topic: string;
      qos: 0 | 1 | 2;
    }

    interface StoredPacket {
      cmd: "publish";
      topic: string;
      payload: Buffer | string;
      qos: 0 | 1 | 2;
      retain: boolean;
      dup: boolean;
      brokerId: string;
      brokerCounter: number;
      messageId?: number | undefined;
    }

    /** An acknowledgement, or a suppressed delivery, which has no message id yet. */
    interface Cleared {
      messageId?: number | undefined;
      brokerId?: string | undefined;
      brokerCounter?: number | undefined;
    }

    /** A message being sent to a client, or its PUBREL after the client's PUBREC. */
    type OutgoingUpdate =
      | (StoredPacket & { messageId: number })
      | { cmd: "pubrel"; messageId: number; brokerId?: string; brokerCounter?: number };
  }

  export = AsyncLevelPersistence;
}
