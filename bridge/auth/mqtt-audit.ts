import type { Logger } from "pino";
import { PUBLICATION_REFUSED_EVENT, type PublicationRefused } from "../../contract/events.ts";
import { isId } from "../../contract/ids.ts";
import type { Topic } from "../../contract/topics.ts";
import { visible } from "../../contract/visible-text.ts";
import type { RefusedPublication } from "../../platform/publications.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Audit } from "./audit.ts";
import type { MqttClients } from "./enforcement.ts";

interface MqttAuditOptions {
  /** Undefined without a broker. */
  clients: MqttClients | undefined;
  audit: Audit;
  publish: Publish;
  logger: Logger;
}

/** Records refusals, commands and broadcasts of MQTT clients, and publishes an event for each refused publication. */
export function startMqttAudit({ clients, audit, publish, logger }: MqttAuditOptions): { stop(): void } {
  const unsubscribe = [
    clients?.onRefused((refusal) => audit.refuse(refusal)),
    clients?.onCarriedOut((act) => audit.record(act)),
    clients?.onPublicationRefused(refusalPublisher({ publish, logger })),
  ];
  return {
    stop() {
      for (const end of unsubscribe) end?.();
    },
  };
}

/**
 * Publishes an event on the sender's channel, unless the sender is a user: such refusals say nothing about a camera,
 * and are only logged. The broker limits the rate of these reports.
 */
function refusalPublisher({ publish, logger }: Pick<MqttAuditOptions, "publish" | "logger">) {
  return ({ identity, topic, reason, why, times }: RefusedPublication): void => {
    const eventTopic = eventTopicOf(identity);
    if (eventTopic === undefined) return;
    const data: PublicationRefused = { reason, message: visible(why), topic: visible(topic), count: times };
    publish({ topic: eventTopic, event: PUBLICATION_REFUSED_EVENT, data }).catch((error: unknown) => {
      logger.warn({ err: error, identity, reason }, "refused publication not reported");
    });
  };
}

function eventTopicOf(identity: string): Topic | undefined {
  const [kind, id = ""] = identity.split(":", 2);
  if (!isId(id)) return undefined;
  const event = PUBLICATION_REFUSED_EVENT;
  if (kind === "device") return { kind: "camera-event", camera: id, event };
  return kind === "service" ? { kind: "service-event", service: id, event } : undefined;
}
