import { encodePacket } from "../../aedes/packet-codec.ts";
import type { ClusterPublication } from "../../cluster/redis-emitter.ts";
import { packetsKey, queueKey } from "./keys.ts";
import type { RedisRetained } from "./retained.ts";
import type { KnownSessions } from "./sessions.ts";
import type { RedisWriter } from "./writer.ts";

const NO_KEYS: readonly string[] = [];

/**
 * Writes a publication to the log, the queues and the retained messages in one step: see `script.ts`. Call it in the
 * order of the publications' counters.
 * @throws {StorageUnavailableError} too many operations wait for Redis, or the node is stopping
 */
export async function appendPublication(
  packet: ClusterPublication,
  { writer, known, retained }: { writer: RedisWriter; known: KnownSessions; retained: RedisRetained },
): Promise<void> {
  const { topic, qos } = packet;
  const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
  const retain = packet.retain ? (payload.length === 0 ? "clear" : "set") : "";
  const own = { brokerId: "", brokerCounter: 0, dup: false, messageId: undefined };
  const body = encodePacket({ cmd: "publish", topic, payload, qos, retain: packet.retain, ...own });
  const counter = String(packet.brokerCounter);
  const [answer] = await writer.run(() => {
    const sessions = qos === 0 ? [] : known.match(topic);
    if (sessions.length === 0 && retain === "") return { keys: NO_KEYS, args: ["p", counter, body] };
    const targets = sessions.flatMap((session) => [session.clientId, session.qos < qos ? "1" : "0"]);
    return {
      keys: sessions.flatMap(({ clientId }) => [queueKey(clientId), packetsKey(clientId)]),
      args: ["P", counter, body, topic, retain, String(sessions.length), ...targets],
    };
  }, body.length);
  if (retain !== "") retained.answered(topic, answer);
}
