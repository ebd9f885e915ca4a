import type { Kysely } from "kysely";
import type { ArchivedEvent } from "./pages.ts";
import type { Tables } from "./tables.ts";

export interface FoundEvent extends ArchivedEvent {
  /** The key of the row in `archive_events`. */
  row: number;
  /** The channels that carried the event. */
  channels: readonly string[];
}

export interface FoundEvents {
  /** Newest first. Several senders may have used one id. */
  events: readonly FoundEvent[];
  /** When the oldest event of the archive was accepted, milliseconds since 1970; undefined when it is empty. */
  oldestAt: number | undefined;
}

const MAX_FOUND = 10;

/** Finds the events with a sender's id. */
export async function findEvents(db: Kysely<Tables>, eventId: string): Promise<FoundEvents> {
  const rows = await db
    .selectFrom("archive_events as e")
    .innerJoin("archive_epochs as p", "p.number", "e.epoch")
    .select(["e.id as row", "p.name as epoch", "e.position", "e.time", "e.kind", "e.camera", "e.channels", "e.body"])
    .where("e.event_id", "=", eventId)
    .orderBy("e.id", "desc")
    .limit(MAX_FOUND)
    .execute();
  const oldest = await db.selectFrom("archive_events").select("time").orderBy("id").limit(1).executeTakeFirst();
  const events = rows.map(({ channels, ...event }) => ({
    ...event,
    channels: channels.split(" ").filter((name) => name !== ""),
  }));
  return { events, oldestAt: oldest?.time };
}
