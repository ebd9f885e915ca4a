import { expect, it } from "vitest";
import { setUpExamples } from "../docs/examples.ts";

const examples = setUpExamples({ HOME_ASSISTANT_DISCOVERY: "on" });

// The examples run in the order of the page, because the first two need trial mode, which the first camera ends.
it.each([
  ["mqtt-subscribe", [/cameras\/north\/events\/capture\.completed \{/]],
  ["mqtt-paho", [/cameras\/north\/events\/capture\.completed \{/]],
  [
    "mqtt-camera",
    [
      /cameras\/west\/state\/presence .*"camera\.online"/,
      /cameras\/west\/about .*Canon/,
      /cameras\/west\/alerts\/heater .*no current/,
    ],
  ],
  ["mqtt-command", [/replies\/capture\.now .*"command_id":"1".*"succeeded"/]],
  ["mqtt-job", [/processing\/stacker\/jobs\/night-1 .*"progress":10/]],
  // The camera captures once a second. The second run of `archive` gets the captures of the five seconds between the
  // two runs.
  [
    "mqtt-home-assistant",
    [/homeassistant\/device\/skylapse_v1_north\/config \{/, /home-assistant\/north\/state \{"availability":"online"/],
  ],
  ["mqtt-session", [/(.*capture\.completed \{.*\n){5}/]],
  ["mqtt-share", [/(.*capture\.completed \{.*\n){3}/]],
])("docs/mqtt.md: the example %s works as printed", async (name, wanted) => {
  const output = await examples.outputOf("docs/mqtt.md", name, wanted);
  for (const pattern of wanted) expect(output).toMatch(pattern);
});
