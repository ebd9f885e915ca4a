import type { ConnectPacket } from "aedes";
import type { Logger } from "pino";
import type { AccessRefusal } from "../../platform/identity.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { PropertiedPacket } from "../aedes/propertied-packet.ts";
import type { BrokerClient } from "./broker-client.ts";
import type { ClientAccess } from "./client-registry.ts";
import { hasTooLargeProperties, largePropertiesProblem } from "./large-properties.ts";
import { nameIssuer } from "./name-issuer.ts";
import type { PermissionSet } from "./permission-sets.ts";
import { namesOf } from "./session-names.ts";
import { bearerOf, type SessionOwner } from "./session-owner.ts";
import type { Wills } from "./wills.ts";

type Will = NonNullable<ConnectPacket["will"]> & Pick<PropertiedPacket, "stored">;

interface WillAdmissionOptions {
  wills: Wills;
  maxPayloadBytes: number;
  /** The largest size of the MQTT 5 properties that are stored with a will. */
  maxPropertiesBytes: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

/**
 * Checks the will of a CONNECT. Drops a forbidden will and lets its client connect, as Mosquitto does: Mosquitto
 * bridges and Home Assistant set wills on topics of their own and cannot handle a refusing CONNACK.
 */
export class WillAdmission {
  readonly #options: WillAdmissionOptions;
  readonly #log = new LimitedLog();

  constructor(options: WillAdmissionOptions) {
    this.#options = options;
  }

  admit(client: BrokerClient, access: ClientAccess, owner: SessionOwner, will: Will): void {
    const problem = this.#problem(will, access.set, access.identity);
    if (problem === undefined) this.#options.wills.assign(will, { key: access.sessionKey, bearer: bearerOf(owner) });
    else this.#drop(client, access, will, problem);
  }

  stop(): void {
    this.#log.stop();
  }

  /** Why the will may not be published; undefined when it may. Writes the issuer into a command. */
  #problem(will: Will, set: PermissionSet, identity: string): string | undefined {
    const { maxPayloadBytes, maxPropertiesBytes } = this.#options;
    if (will.payload.length > maxPayloadBytes)
      return `its ${will.payload.length} bytes exceed MAX_PAYLOAD_BYTES, which is ${maxPayloadBytes}`;
    if (will.stored !== undefined && hasTooLargeProperties(will.stored, maxPropertiesBytes))
      return largePropertiesProblem(will.stored, maxPropertiesBytes);
    const decision = set.decidePublish(will.topic);
    if (decision.kind === "refused") return decision.why;
    if (decision.kind === "plain") return undefined;
    will.retain &&= decision.retains;
    const isCommand = decision.act?.action === "command";
    return isCommand && !nameIssuer(will, identity) ? "it is a command with too deeply nested JSON" : undefined;
  }

  #drop(client: BrokerClient, { identity, clientId, address }: ClientAccess, { topic }: Will, why: string): void {
    // Aedes stores the will from this property.
    Object.assign(client, { _will: undefined });
    const { onRefused, logger } = this.#options;
    this.#log.note(identity, (times) => {
      onRefused({ action: "publish", who: identity, address, target: topic, outcome: "permission_denied" });
      logger.warn({ ...namesOf({ identity, clientId }), topic, why, times }, "will dropped: it may not be published");
    });
  }
}
