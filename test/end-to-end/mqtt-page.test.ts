import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { readExample, setUpExamples } from "../docs/examples.ts";
import { PYTHON } from "../support/programs.ts";

const EXAMPLES = "docs/mqtt-examples.md";
const CAPTURED = /cameras\/north\/events\/capture\.completed \{/;
const examples = setUpExamples({ HOME_ASSISTANT_DISCOVERY: "on" });

// Examples that get a token of trial mode run first, because the first camera ends trial mode.
it.each([
  ["mqtt-subscribe", EXAMPLES, [CAPTURED]],
  ["mqtt-paho", EXAMPLES, [CAPTURED]],
  [
    "mqtt-paho-five",
    EXAMPLES,
    [/connected: Success/, /weather\.warning \{"text": "Storm from the west"\} \[\('station', 'summit'\)\]/],
  ],
  ["mqtt-js", EXAMPLES, [CAPTURED]],
  ["mqtt-websocket-stream", EXAMPLES, [CAPTURED]],
  [
    "mqtt-camera",
    EXAMPLES,
    [
      /cameras\/west\/state\/presence .*"camera\.online"/,
      /cameras\/west\/about .*Canon/,
      /cameras\/west\/alerts\/heater .*no current/,
    ],
  ],
  ["mqtt-five", EXAMPLES, [/cameras\/east\/state\/dew \{"heater":"on"\} place:roof 3\d{3}/]],
  ["mqtt-command", EXAMPLES, [/replies\/capture\.now .*"command_id":"1".*"succeeded"/]],
  ["mqtt-job", EXAMPLES, [/processing\/stacker\/jobs\/night-1 .*"progress":10/]],
  [
    "mqtt-home-assistant",
    "docs/mqtt-integrations.md",
    [/homeassistant\/device\/skylapse_v1_north\/config \{/, /home-assistant\/north\/state \{"availability":"online"/],
  ],
  // The camera captures once a second. The second run of `archive` gets the captures of the five seconds between the
  // two runs.
  ["mqtt-session", EXAMPLES, [/(.*capture\.completed \{.*\n){5}/]],
  ["mqtt-share", "docs/mqtt.md", [/(.*capture\.completed \{.*\n){3}/]],
])("the example %s of %s works as printed", async (name, page, wanted) => {
  const output = await examples.outputOf(page, name, wanted);
  for (const pattern of wanted) expect(output).toMatch(pattern);
});

it("the example for paho 2 compiles, and differs from paho 1.6 by the version of its callbacks", () => {
  const { code } = readExample(EXAMPLES, "mqtt-paho-two");
  const compile = `compile(${JSON.stringify(code)}, "example", "exec")`;
  execFileSync(PYTHON, ["-c", compile]);
  expect(code).toContain("mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=");
  const callbacks = (text: string) => text.match(/^def on_(connect|message)\(.*$/gm);
  expect(callbacks(code)).toEqual(callbacks(readExample(EXAMPLES, "mqtt-paho-five").code));
});
