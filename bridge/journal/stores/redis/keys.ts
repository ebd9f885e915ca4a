/**
 * The keys of the journal. All begin with `{prefix}journal:`. The scripts build the same names, because the keys of
 * channels depend on the messages. The hash tag of the prefix keeps all keys in one slot of a Redis Cluster.
 *
 * | key | type | holds |
 * |---|---|---|
 * | `meta` | hash | `epoch`, `head` (newest position), `stamp` (of the newest chunk), `origins` (the epoch, then earlier epochs, each with the position up to which the journal still has its entries), `forgotten` (highest floor of removed channels), `sessions` (number of sessions), `changes` (how often that number changed), `published` (last position of the newest row of publications), `publishedBytes` (bytes of all rows ever written), `publicationFloor` (publications up to this position were removed), `trimmedBytes` (bytes that were removed), `compactions` (how often rows were compacted), `takeOver` (token of the run that took over the data of an earlier version last), `takenOver` (which data has been taken over), `shareVersion` (how often groups of shared subscriptions were created), `firstRun` (the run that does what one of several nodes does) |
 * | `log` | stream | chunks of up to 64 entries; the id is the last position |
 * | `channel:{name}` | stream | for each chunk with entries of the channel: the time of acceptance, and which entries |
 * | `kept` | hash | channel → the number of entries that it keeps |
 * | `floors` | hash | channel → the highest position that retention removed from it |
 * | `oldest` | sorted set | channels by the time of acceptance of their oldest kept entry |
 * | `excess` | set | channels that keep more entries than allowed |
 * | `held` | hash | chunk → one byte for each entry: the number of channels that keep it |
 * | `chunk-ids` | hash | chunk → ids of its messages, deleted together with the chunk |
 * | `lingering-chunks` | list | chunks that no channel keeps and that will be deleted soon; since when, and their size |
 * | `lingering` | list | from versions before: the same without time and size |
 * | `readers` | hash | reader of the whole journal → its position, how many entries are kept for it, and when it was seen |
 * | `trims` | stream | floors of channels (`f`) and of publications (`p`) that were raised, and compactions (`c`), for the other nodes |
 * | `publications` | stream | publications for MQTT subscribers, one row for each chunk that has some; the id is the id of the chunk |
 * | `compacted` | sorted set | rows of publications that replace rows of the stream, by their last position |
 * | `publication-floors` | hash | run → the position up to which the run needs no publications, the newest change of rows that it knew of then, and the position up to which sessions that are connected to it need none; `shares`: what the groups of shared subscriptions need |
 * | `retained` | hash | topic → its retained message for MQTT subscribers |
 * | `retained-topics` | sorted set | the topics of `retained`, in the order of their bytes, so that those below a topic can be counted |
 * | `incoming:{session}` | set | message ids of QoS 2 publications of the session whose PUBREL has not arrived; expires |
 * | `ids` | hash | ids of messages without session and sequence number |
 * | `sessions:{sender}` | hash | session → ranges of received sequence numbers |
 * | `sessions-used:{sender}` | sorted set | the sender's sessions by the position of their last use |
 * | `senders` | sorted set | senders by their number of sessions; among equals, the sender that reached the number first is last |
 * | `state` | hash | retained topic → its newest value |
 * | `estates` | sorted set | runs of nodes that may have unfinished commands |
 * | `claims` | hash | run of a dead node → the run that reports its unfinished commands |
 * | `mqtt-rows` | hash | `session:{client}` and `will:{client}` → the broker's row |
 * | `mqtt-writers` | hash | client → its generation, and the run to which it is connected, or `-` |
 * | `mqtt-held:{run}` | set | the clients that are connected to the run; `shares` is not empty while there are groups of shared subscriptions |
 * | `mqtt-taken` | hash | run → the newest generation that it took |
 * | `mqtt-masters` | hash | run → the run id of the Redis master to which it has come, and has written what that master had lost |
 * | `mqtt-changes` | stream | who writes a client's rows: see `scripts/rows.lua` |
 * | `mqtt-take-over` | string | the token of the run that takes over the data of an earlier version now; expires |
 * | `mqtt-shares` | hash | group of shared subscriptions → its name |
 * | `mqtt-share-floors` | sorted set | groups by the position up to which they need no publications |
 * | `mqtt-share-place:{group}` | hash | `sent`: everything up to this position was given to members, waits, or is not for the group |
 * | `mqtt-share-members:{group}` | hash | member → its QoS, 1 if its session outlives the connection, and the connection: `run:number`, or `-` |
 * | `mqtt-share-open:{group}` | hash | position → QoS, 1 after PUBREC, message id and member |
 * | `mqtt-share-held:{group}` | sorted set | the positions of `open` that the log must keep |
 * | `mqtt-share-waiting:{group}` | sorted set | the positions that no member has |
 * | `mqtt-share-once:{key}` | string | a publication outside the log that one node has taken; expires |
 * | `open:{run}` | hash | the position of a command that the relay has not finished → the command |
 * | `unemitted:{run}` | hash | from versions before the log: the position before a batch → the publications of the batch for MQTT subscribers |
 * | `partial:{run}` | hash | from versions before the log: the position before a batch → its undelivered positions, if some positions are delivered |
 */
export type JournalKeys = ReturnType<typeof journalKeys>;

/** @param commonPrefix the prefix of every key of this program, for example `{skylapse}:` */
export function journalKeys(commonPrefix: string) {
  const prefix = `${commonPrefix}journal:`;
  return {
    prefix,
    meta: `${prefix}meta`,
    log: `${prefix}log`,
    kept: `${prefix}kept`,
    floors: `${prefix}floors`,
    excess: `${prefix}excess`,
    trims: `${prefix}trims`,
    state: `${prefix}state`,
    publications: `${prefix}publications`,
    compacted: `${prefix}compacted`,
    retained: `${prefix}retained`,
    estates: `${prefix}estates`,
    channel: (name: string) => `${prefix}channel:${name}`,
    incoming: (session: string) => `${prefix}incoming:${session}`,
    rows: `${prefix}mqtt-rows`,
    rowWriters: `${prefix}mqtt-writers`,
    rowChanges: `${prefix}mqtt-changes`,
    /** The cluster's key: its value is the fence of the lease's holder. */
    lease: (name: string) => `${commonPrefix}cluster:lease:${name}`,
    open: (run: string) => `${prefix}open:${run}`,
    undelivered: (run: string) => `${prefix}unemitted:${run}`,
    partial: (run: string) => `${prefix}partial:${run}`,
  };
}
