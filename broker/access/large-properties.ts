import type { StoredProperties } from "../../platform/publication-log.ts";

/** Whether the MQTT 5 properties of a publication or will are larger than `MAX_MQTT_PROPERTIES_BYTES`. */
export function hasTooLargeProperties({ properties }: StoredProperties, maxPropertiesBytes: number): boolean {
  return properties !== undefined && properties.length > maxPropertiesBytes;
}

/** Why {@link hasTooLargeProperties} is true, and what its sender can do, for people. */
export function largePropertiesProblem({ properties }: StoredProperties, maxPropertiesBytes: number): string {
  const limit = `MAX_MQTT_PROPERTIES_BYTES, which is ${maxPropertiesBytes}`;
  return `properties of ${properties?.length ?? 0} bytes exceed ${limit}: send fewer or shorter user properties`;
}
