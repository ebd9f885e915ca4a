import type { Logger } from "pino";
import { alertNoteSchema } from "../../../contract/events.ts";
import type { Topic, TopicTree } from "../../../contract/topics.ts";
import type { Publish } from "../../broker-link/publish.ts";
import { dataOf } from "../../journal/entry-body.ts";
import type { Entry, Journal, StateEntry } from "../../journal/journal.ts";
import { eventIdOf } from "../event-id.ts";

type NoteTopic = Extract<Topic, { kind: "camera-alert-note" | "service-alert-note" }>;
type AlertTopic = Extract<Topic, { kind: "camera-alert" | "service-alert" }>;

interface NoteEndsOptions {
  journal: Pick<Journal, "epoch" | "state">;
  tree: TopicTree;
  publish: Publish;
  logger: Logger;
}

/** A note to clear, unless it was written after this position. */
interface DueNote {
  topic: NoteTopic;
  position: number;
}

/**
 * Clears what people noted about alerts: an acknowledgement when its alert is cleared, so that it does not apply to the
 * next alert of this name, and a mute at its time. A clearing that fails is tried again at the next {@link check}.
 */
export class NoteEnds {
  readonly #options: NoteEndsOptions;
  /** The ends of the mutes, milliseconds since 1970, by topic. */
  readonly #mutes = new Map<string, { topic: NoteTopic; until: number }>();
  readonly #due = new Map<string, DueNote>();
  readonly #publishing = new Map<string, Promise<void>>();

  constructor(options: NoteEndsOptions) {
    this.#options = options;
  }

  /** Reads a retained note. An alert that was cleared while nobody watched leaves an acknowledgement behind. */
  seed(topic: NoteTopic, entry: StateEntry): void {
    this.#noteMute(topic, entry);
    const { tree, journal } = this.#options;
    if (topic.note === "acknowledgement" && journal.state(tree.build(alertOf(topic))) === undefined)
      this.#end(entry.topic, { topic, position: entry.position });
  }

  /** @param isRaised whether the alert is raised at this entry */
  apply(topic: NoteTopic, entry: Entry, isRaised: boolean): void {
    if (entry.state === "set") {
      this.#noteMute(topic, entry);
      // Somebody acknowledged the alert while it was cleared, perhaps at another node.
      if (topic.note === "acknowledgement" && !isRaised) this.#end(entry.topic, { topic, position: entry.position });
    } else if (entry.state === "clear") this.#mutes.delete(entry.topic);
  }

  alertCleared(alert: AlertTopic, { position }: Entry): void {
    const topic = acknowledgementOf(alert);
    const name = this.#options.tree.build(topic);
    if (this.#options.journal.state(name) !== undefined) this.#end(name, { topic, position });
  }

  check(now: number): void {
    for (const [name, { topic, until }] of this.#mutes) {
      const note = until <= now ? this.#options.journal.state(name) : undefined;
      if (note !== undefined && !this.#due.has(name)) this.#due.set(name, { topic, position: note.position });
    }
    for (const [name, due] of this.#due) this.#clear(name, due);
  }

  async settle(): Promise<void> {
    await Promise.all(this.#publishing.values());
  }

  #noteMute(topic: NoteTopic, entry: StateEntry): void {
    if (topic.note !== "mute") return;
    const until = Date.parse(alertNoteSchema.safeParse(dataOf(entry)).data?.until ?? "");
    this.#mutes.set(entry.topic, { topic, until: Number.isNaN(until) ? 0 : until });
  }

  #end(name: string, due: DueNote): void {
    this.#due.set(name, due);
    this.#clear(name, due);
  }

  #clear(name: string, { topic, position }: DueNote): void {
    if (this.#publishing.has(name)) return;
    const note = this.#options.journal.state(name);
    if (note === undefined || note.position > position) {
      this.#due.delete(name);
      return;
    }
    const id = eventIdOf("note ended", this.#options.journal.epoch, name, note.position);
    const done = this.#options
      .publish({ topic, event: "state.cleared", data: null, retain: true, id })
      .then(() => void this.#due.delete(name))
      .catch((error: unknown) =>
        this.#options.logger.debug({ err: error, topic: name }, "note about an alert not cleared, retrying"),
      )
      .finally(() => this.#publishing.delete(name));
    this.#publishing.set(name, done);
  }
}

export function isAlertNote(topic: Topic): topic is NoteTopic {
  return topic.kind === "camera-alert-note" || topic.kind === "service-alert-note";
}

/** The alert that a note is about. */
export function alertOf(topic: NoteTopic): AlertTopic {
  const { name } = topic;
  return topic.kind === "camera-alert-note"
    ? { kind: "camera-alert", camera: topic.camera, name }
    : { kind: "service-alert", service: topic.service, name };
}

function acknowledgementOf(alert: AlertTopic): NoteTopic {
  const { name } = alert;
  return alert.kind === "camera-alert"
    ? { kind: "camera-alert-note", camera: alert.camera, name, note: "acknowledgement" }
    : { kind: "service-alert-note", service: alert.service, name, note: "acknowledgement" };
}
