import { expect, test } from "vitest";
import { hasTooLargeProperties, largePropertiesProblem } from "../../../broker/access/large-properties.ts";

test("properties may have MAX_MQTT_PROPERTIES_BYTES and not a byte more, and the refusal names the setting and the remedy", () => {
  expect(hasTooLargeProperties({ publisher: "user:alice" }, 8)).toBe(false);
  expect(hasTooLargeProperties({ properties: new Uint8Array(8) }, 8)).toBe(false);
  const large = { properties: new Uint8Array(9) };
  expect(hasTooLargeProperties(large, 8)).toBe(true);
  expect(largePropertiesProblem(large, 8)).toBe(
    "properties of 9 bytes exceed MAX_MQTT_PROPERTIES_BYTES, which is 8: send fewer or shorter user properties",
  );
});
