/** How a subscription gets what its filter matches. The fields that MQTT 3.1.1 does not have are not set for its clients. */
export interface FilterOptions {
  readonly qos: 0 | 1 | 2;
  /** The client does not get its own publications by this filter [MQTT-3.8.3-3]. Default: false. */
  readonly noLocal?: boolean | undefined;
  /** Live messages keep the RETAIN flag of their publication [MQTT-3.3.1-13]. Default: false, which clears the flag. */
  readonly retainAsPublished?: boolean | undefined;
  /** The subscription identifier, which comes with each message of the filter [MQTT-3.3.4-3]. Default: none. */
  readonly identifier?: number | undefined;
}

export function haveSameOptions(one: FilterOptions, other: FilterOptions): boolean {
  return (
    one.qos === other.qos &&
    (one.noLocal ?? false) === (other.noLocal ?? false) &&
    (one.retainAsPublished ?? false) === (other.retainAsPublished ?? false) &&
    one.identifier === other.identifier
  );
}
