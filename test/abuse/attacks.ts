import type { Attack } from "./attack.ts";
import { commands, dashboardRetention, journalChannels } from "./attacks/bridge.ts";
import { cameraList, httpRequests, socketRequests, wrongLogins } from "./attacks/http.ts";
import { auditLines, logLines } from "./attacks/logs.ts";
import {
  acknowledgementBursts,
  controlPackets,
  refusedFilters,
  refusedPublications,
  retainedReread,
} from "./attacks/packets.ts";
import { payloadBytes, previews, retainedBytes } from "./attacks/payloads.ts";
import { bytesOneByOne } from "./attacks/pieces.ts";
import { clientIds, storedSessions, wrongSecrets } from "./attacks/sessions.ts";

/** One attack for each shared resource. */
export const attacks: readonly Attack[] = [
  clientIds,
  storedSessions,
  wrongSecrets,
  retainedBytes,
  payloadBytes,
  previews,
  journalChannels,
  dashboardRetention,
  commands,
  auditLines,
  logLines,
  refusedFilters,
  refusedPublications,
  controlPackets,
  retainedReread,
  acknowledgementBursts,
  bytesOneByOne,
  cameraList,
  wrongLogins,
  httpRequests,
  socketRequests,
];
