import type { Logger } from "pino";
import type { PublicationRefused } from "../../contract/events.ts";
import { isId } from "../../contract/ids.ts";
import type { Topic } from "../../contract/topics.ts";
import { visible } from "../../contract/visible-text.ts";
import type { RefusedPublication } from "../../platform/publications.ts";
import type { Publish } from "../broker-link/publish.ts";

export const PUBLICATION_REFUSED_EVENT = "publication.refused";

/**
 * Tells on the channel of a camera or service that what it published was refused. Users are told by the log alone: what they
 * may not do says nothing of the camera that they did it to. The broker bounds how often it reports.
 */
export function tellRefusedPublication({ publish, logger }: { publish: Publish; logger: Logger }) {
  return ({ identity, topic, reason, why, times }: RefusedPublication): void => {
    const about = eventTopicOf(identity);
    if (about === undefined) return;
    const data: PublicationRefused = { reason, message: visible(why), topic: visible(topic), count: times };
    publish({ topic: about, event: PUBLICATION_REFUSED_EVENT, data }).catch((error: unknown) => {
      logger.warn({ err: error, identity, reason }, "a refused publication could not be told of");
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
