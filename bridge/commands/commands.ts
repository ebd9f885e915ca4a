import type { Logger } from "pino";
import { ulid } from "ulid";
import { commandSchema, FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { Audit } from "../auth/audit.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Journal } from "../journal/journal.ts";
import { CommandHistory } from "./command-history.ts";
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
  publish: Publish;
  /** Called for each command that anybody issues. */
  onIssued: () => void;
  /** Called when a camera has carried out a command. */
  onApplied: (command: AppliedCommand) => void;
  logger: Logger;
}

/** A command that a camera has carried out. */
export interface AppliedCommand {
  id: string;
  camera: string;
  name: string;
  args: unknown;
  by: string;
  /** Milliseconds since 1970. */
  issuedAt: number;
}

export interface Commands extends CommandRunner {
  mqtt: Pick<MqttCommands, "run" | "reportLost">;
  stats: CommandRelay["stats"];
  stop(): Promise<void>;
}

/** All commands for a camera share one queue, whether issued by HTTP, WebSocket or MQTT, at whichever node. */
export function startCommands(options: CommandsOptions): Commands {
  const { config, cluster, link, journal, tree, isSleeping, audit, publish, onIssued, onApplied, logger } = options;
  const history = new CommandHistory({ publish, logger });
  const maxPerCamera = config.maxQueuedPerCamera + 1;
  const queue = cluster.shared ? new SharedCommandQueue({ cluster, maxPerCamera, logger }) : undefined;
  const relay = startCommandRelay({
    ...{ link, journal, tree, isSleeping, ...config, rates: cluster.rates, logger },
    ...(queue === undefined ? {} : { queue }),
    onSucceeded({ camera, payload }) {
      const { id, name, args, issued_by: by, issued_at } = commandSchema.parse(JSON.parse(payload.toString("utf8")));
      onApplied({ id, camera, name, args, by, issuedAt: Date.parse(issued_at) });
    },
    onTakenUpdate({ camera, name, by, isMqtt }, update) {
      if (!FINAL_COMMAND_STATUSES.has(update.status)) return;
      const target = `camera:${camera} ${name}`;
      history.noteEnded({ camera, name }, update);
      audit.record({ action: "command", who: by, address: undefined, target, outcome: update.status });
      if (isMqtt) mqtt.report({ identity: by, camera, name }, update);
    },
  });
  const recorded: CommandRunner = {
    run(request, onUpdate) {
      relay.run(request, (update) => {
        history.noteEnded(request, update);
        onUpdate(update);
      });
    },
  };
  const mqtt = new MqttCommands({ relay: recorded, queue, link, tree, audit, logger });
  return {
    run(request, onUpdate) {
      onIssued();
      const { id = ulid(), camera, name, args, from } = request;
      const record = (outcome: string) =>
        audit.record({ action: "command", ...from, target: `camera:${camera} ${name}`, outcome });
      record("issued");
      let isRefused = false;
      let isRecorded = false;
      relay.run({ ...request, id }, (update) => {
        const isFinal = FINAL_COMMAND_STATUSES.has(update.status);
        if (isFinal) record(update.status);
        // Who issues commands without end is refused at once, and must not fill the history.
        if (isFinal && !isRecorded) isRefused = true;
        if (isRecorded) history.noteEnded(request, update);
        onUpdate(update);
      });
      isRecorded = !isRefused;
      if (isRecorded) history.noteIssued({ id, camera, name, args, by: from.who, expiresInS: request.expires_in });
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
      history.stop();
    },
  };
}
