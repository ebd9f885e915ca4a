import type { Logger } from "pino";
import type { TopicTree } from "../contract/topics.ts";
import type { OutgoingPublication } from "../platform/publications.ts";
import type { BrokerLink } from "./broker-link/broker-link.ts";
import type { LostCommand, MqttCommands } from "./commands/mqtt-commands.ts";
import type { Journal } from "./journal/journal.ts";

/** Events that wait for the broker link. Further events stay in the journal until the next start. */
const MAX_WAITING = 10_000;

interface MqttForwardingOptions {
  journal: Pick<Journal, "head" | "delivered" | "undelivered">;
  /** Called when MQTT subscribers were sent an event of this run. */
  delivered: (position: number) => void;
  tree: TopicTree;
  logger: Logger;
}

/** Publishes to MQTT subscribers: the backend's own events, and messages that an earlier run did not deliver. */
export class MqttForwarding {
  readonly #options: MqttForwardingOptions;
  /** Messages up to this position are from earlier runs. */
  readonly #startPosition: number;
  #link: Pick<BrokerLink, "publish"> | undefined;
  readonly #waitingForLink: { position: number; publication: OutgoingPublication }[] = [];
  #commands: Pick<MqttCommands, "reportLost"> | undefined;
  /** Commands of an earlier run, until {@link attachCommands}. */
  readonly #lostCommands: { position: number; command: LostCommand }[] = [];

  constructor(options: MqttForwardingOptions) {
    this.#options = options;
    this.#startPosition = options.journal.head;
  }

  attach(link: Pick<BrokerLink, "publish">): void {
    this.#link = link;
    for (const { position, publication } of this.#waitingForLink.splice(0)) this.publish(position, publication);
  }

  attachCommands(commands: Pick<MqttCommands, "reportLost">): void {
    this.#commands = commands;
    for (const { position, command } of this.#lostCommands.splice(0)) this.#reportLost(commands, position, command);
  }

  publish(position: number, publication: OutgoingPublication): void {
    const { delivered, logger } = this.#options;
    if (this.#link === undefined) {
      if (this.#waitingForLink.length < MAX_WAITING) this.#waitingForLink.push({ position, publication });
      return;
    }
    this.#link.publish(publication).then(
      () => delivered(position),
      (error: unknown) => logger.error({ err: error, topic: publication.topic, position }, "event not published"),
    );
  }

  async publishUndelivered({ afterStart = false }: { afterStart?: boolean }): Promise<void> {
    const { journal, tree, logger } = this.#options;
    let count = 0;
    for await (const { position, ...publication } of journal.undelivered()) {
      if (position > this.#startPosition && !afterStart) continue;
      const payload = Buffer.from(publication.payload);
      const topic = tree.parse(publication.topic);
      if (topic?.kind === "camera-command") {
        const command = { payload, camera: topic.camera, name: topic.command };
        if (this.#commands === undefined) this.#lostCommands.push({ position, command });
        else this.#reportLost(this.#commands, position, command);
        continue;
      }
      if (this.#link === undefined) throw new Error("attach a broker link before publishing undelivered messages");
      await this.#link.publish({ ...publication, payload });
      journal.delivered(position);
      count++;
    }
    if (count > 0) logger.info({ count }, "published messages that an earlier run had accepted and not delivered");
  }

  #reportLost(commands: Pick<MqttCommands, "reportLost">, position: number, command: LostCommand): void {
    commands.reportLost(command);
    this.#options.journal.delivered(position);
  }
}
