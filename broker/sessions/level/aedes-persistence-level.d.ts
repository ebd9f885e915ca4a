/** The package has no types. These are the methods that `level.ts` calls or overrides. */
declare module "aedes-persistence-level/asyncPersistence.js" {
  import type { Readable } from "node:stream";
  import type { Brokers, Subscription } from "aedes";
  import type { ClassicLevel } from "classic-level";

  type Session = import("../storage.ts").Session;
  type StoredPacket = import("../storage.ts").StoredPacket;
  type OutgoingUpdate = import("../storage.ts").OutgoingUpdate;
  type StoredSubscription = import("../storage.ts").StoredSubscription;
  type Cleared = import("../storage.ts").Cleared;

  class AsyncLevelPersistence {
    constructor(db: ClassicLevel<string, Buffer>);
    setup(broker: { id: string }): Promise<void>;
    storeRetained(packet: StoredPacket): Promise<void>;
    createRetainedStream(filter: string): Readable;
    createRetainedStreamCombi(filters: string[]): Readable;
    addSubscriptions(client: Session, subscriptions: Subscription[]): Promise<void>;
    removeSubscriptions(client: Session, filters: string[]): Promise<void>;
    subscriptionsByClient(client: Session): Promise<Subscription[]>;
    subscriptionsByTopic(topic: string): Promise<StoredSubscription[]>;
    cleanSubscriptions(client: Session): Promise<void>;
    countOffline(): Promise<{ subsCount: number; clientsCount: number }>;
    outgoingEnqueue(subscription: StoredSubscription, packet: StoredPacket): Promise<void>;
    outgoingEnqueueCombi(subscriptions: StoredSubscription[], packet: StoredPacket): Promise<void>;
    outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void>;
    outgoingClearMessageId(client: Session, packet: Cleared): Promise<unknown>;
    outgoingStream(client: Session): Readable;
    incomingStorePacket(client: Session, packet: StoredPacket): Promise<void>;
    incomingGetPacket(client: Session, packet: { messageId?: number }): Promise<unknown>;
    incomingDelPacket(client: Session, packet: { messageId?: number }): Promise<void>;
    cleanIncoming(client: Session): Promise<void>;
    putWill(client: Session, will: object): Promise<void>;
    delWill(client: Session): Promise<unknown>;
    streamWill(brokers?: Brokers): Readable;
    destroy(): Promise<void>;
  }

  export = AsyncLevelPersistence;
}
