import type { Logger } from "pino";
import { FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { Audit } from "../auth/audit.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Journal } from "../journal/journal.ts";
import { type CommandRelay, type CommandRelayOptions, type CommandRunner, startCommandRelay } from "./command-relay.ts";
import { MqttCommands } from "./mqtt-commands.ts";
import { SharedCommandQueue } from "./shared-command-queue.ts";

interface CommandsOptions {
  config: Required<Pick<CommandRelayOptions, "maxQueuedPerCamera" | "maxPending">> &
    Pick<CommandRelayOptions, "maxPerMinute">;
  cluster: Cluster;
  link: BrokerLink;
  journal: Journal;
  tree: TopicTree;
  /** A sleeping camera's commands wait. An offline camera's commands fail at once. */
  isSleeping: (camera: string) => boolean;
  audit: Audit;
  /** Called for each command that anybody issues. */
  onIssued: () => void;
  logger: Logger;
}

export interface Commands extends CommandRunner {
  mqtt: Pick<MqttCommands, "run" | "reportLost">;
  stats: CommandRelay["stats"];
  stop(): Promise<void>;
}

/** All commands for a camera share one queue, whether issued by HTTP, WebSocket or MQTT, at whichever node. */
export function startCommands(options: CommandsOptions): Commands {
  const { config, cluster, link, journal, tree, isSleeping, audit, onIssued, logger } = options;
  const maxPerCamera = config.maxQueuedPerCamera + 1;
  const queue = cluster.shared ? new SharedCommandQueue({ cluster, maxPerCamera, logger }) : undefined;
  const relay = startCommandRelay({
    ...{ link, journal, tree, isSleeping, ...config, rates: cluster.rates, logger },
    ...(queue === undefined ? {} : { queue }),
    onTakenUpdate({ camera, name, by, isMqtt }, update) {
      if (!FINAL_COMMAND_STATUSES.has(update.status)) return;
      const target = `camera:${camera} ${name}`;
      audit.record({ action: "command", who: by, address: undefined, target, outcome: update.status });
      if (isMqtt) mqtt.report({ identity: by, camera, name }, update);
    },
  });
  const mqtt = new MqttCommands({ relay, queue, link, tree, audit, logger });
  return {
    run(request, onUpdate) {
      onIssued();
      const { camera, name, from } = request;
      const record = (outcome: string) =>
        audit.record({ action: "command", ...from, target: `camera:${camera} ${name}`, outcome });
      record("issued");
      relay.run(request, (update) => {
        if (FINAL_COMMAND_STATUSES.has(update.status)) record(update.status);
        onUpdate(update);
      });
    },
    mqtt: {
      // The broker records who issued the command: it knows the client's address.
      run(command) {
        onIssued();
        mqtt.run(command);
      },
      reportLost: mqtt.reportLost,
    },
    stats: () => relay.stats(),
    async stop() {
      mqtt.stop();
      await relay.stop();
    },
  };
}
