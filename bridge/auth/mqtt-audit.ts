import type { Logger } from "pino";
import type { Publish } from "../broker-link/publish.ts";
import type { Audit } from "./audit.ts";
import type { MqttClients } from "./enforcement.ts";
import { refusalPublisher } from "./refusal-events.ts";

export interface MqttAuditOptions {
  /** Undefined without a broker. */
  clients: MqttClients | undefined;
  audit: Audit;
  publish: Publish;
  logger: Logger;
}

/**
 * Records refusals, commands and broadcasts of MQTT clients in the audit log, like those of HTTP and WebSocket clients,
 * and publishes refused publications as events of their sender.
 */
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
