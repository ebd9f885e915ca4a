import type { AedesPublishPacket, PublishPacket } from "aedes";
import type { StoredProperties } from "../../platform/publication-log.ts";
import type { RefusedPublication } from "../../platform/publications.ts";

/** A publication on its way to the log. Aedes copies none of its fields that MQTT 3.1.1 does not have. */
export interface PropertiedPacket extends PublishPacket {
  /** Set for a publication of an MQTT 5 client, and for its will. Default: nothing more is stored. */
  stored?: StoredProperties | undefined;
  /** Why the publication is acknowledged and discarded, which an MQTT 5 client learns. Default: the publication is accepted. */
  refusal?: Pick<RefusedPublication, "reason" | "why">;
  /** Why an accepted publication is not retained. Default: the publication is retained if its publisher wants that. */
  notRetained?: string;
}

/** A publication as subscriptions get it. */
export interface DeliveredPacket extends AedesPublishPacket {
  /** As in the log. */
  stored?: StoredProperties | undefined;
}
