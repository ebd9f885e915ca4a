/**
 * The keys of the journal, all below `{prefix}journal:`. The scripts build the same names: a channel's key is not known
 * before its message is, and the hash tag of the prefix keeps all of them in one slot of a cluster.
 *
 * | key | type | holds |
 * |---|---|---|
 * | `meta` | hash | `epoch`, `head` (newest position), `stamp` (of the newest chunk), `forgotten` (highest floor of channels that were forgotten), `sessions` (how many there are), `changes` (of their number) |
 * | `log` | stream | chunks of up to 64 entries; the id is the last position |
 * | `channel:{name}` | stream | for each chunk with entries of the channel: when it was accepted, and which entries |
 * | `kept` | hash | channel → how many entries it keeps |
 * | `floors` | hash | channel → the highest position that retention dropped from it |
 * | `oldest` | sorted set | channels by when the oldest entry they keep was accepted |
 * | `excess` | set | channels that keep more entries than they may |
 * | `held` | hash | chunk → for each entry a byte: how many channels keep it |
 * | `chunk-ids` | hash | chunk → ids of its messages, to be forgotten with it |
 * | `lingering` | list | chunks that no channel keeps, to be removed soon |
 * | `trims` | stream | floors as they move, for other nodes |
 * | `ids` | hash | ids of messages without session and seq |
 * | `sessions:{sender}` | hash | session → sequence numbers seen |
 * | `sessions-used:{sender}` | sorted set | its sessions by the position of their last use |
 * | `senders` | sorted set | senders by how many sessions they have; of those with as many, who has had them for the longest is the last |
 * | `state` | hash | retained topic → its last value |
 * | `estates` | sorted set | runs of nodes by when they gave their last sign of life |
 * | `instances` | hash | run → the node it was a run of |
 * | `unemitted:{run}` | hash | first position of a batch, less one → its publications that MQTT subscribers are to get |
 * | `partial:{run}` | hash | the same → positions that are left, where some were emitted |
 */
export interface JournalKeys {
  readonly prefix: string;
  readonly meta: string;
  readonly log: string;
  readonly kept: string;
  readonly floors: string;
  readonly excess: string;
  readonly trims: string;
  readonly state: string;
  channel(name: string): string;
  undelivered(run: string): string;
  partial(run: string): string;
}

/** @param accessPrefix what every key of this program begins with, such as `{skylapse}:` */
export function journalKeys(accessPrefix: string): JournalKeys {
  const prefix = `${accessPrefix}journal:`;
  return {
    prefix,
    meta: `${prefix}meta`,
    log: `${prefix}log`,
    kept: `${prefix}kept`,
    floors: `${prefix}floors`,
    excess: `${prefix}excess`,
    trims: `${prefix}trims`,
    state: `${prefix}state`,
    channel: (name) => `${prefix}channel:${name}`,
    undelivered: (run) => `${prefix}unemitted:${run}`,
    partial: (run) => `${prefix}partial:${run}`,
  };
}
