import { expect, it } from "vitest";
import { setUpExamples } from "../docs/examples.ts";

const examples = setUpExamples();

// The first account ends trial mode, on which the examples without a token depend.
it.each([
  ["http-token", [/^\{"cameras":\[\{"id":"north"/]],
  ["http-health", [/"status":"ready"/, /"status":"healthy"/, /"total_connections":\d/]],
  ["http-history", [/^\{"events":\[/, /accepted_at,timestamp/]],
  ["http-broadcast", [/^\{"sent_to":\d+,"channel":"dashboard"\}/]],
  ["http-command", [/"camera":"north","status":"succeeded"/]],
  ["http-record", [/"name":"North face","notes":"The key[^}]*\},"tags":\["winter"\],"groups":\[\]\}/]],
  ["http-groups", [/\{"groups":\[\{"id":"north-face","name":"North face","cameras":\["north","south"\]/]],
  ["http-schedule", [/^\{"version":1,"value":\{"entries":\[.*"by":"operator"/]],
  [
    "http-users",
    [/"user_id":"carol","role":"viewer"/, /"enabled":false/, /^(?:.*\})*\{"users":\[\{"user_id":"carol"/m],
  ],
  ["http-integrations", [/\{"cameras":\[/, /"expires_at":/, /\{"integrations":\[.*"grafana"/]],
  ["http-devices", [/"id":"summit","kind":"camera".*"secret":"/, /\{"devices":\[.*"summit"/]],
])("docs/http.md: the example %s works as printed", async (name, wanted) => {
  const output = await examples.outputOf("docs/http.md", name, wanted);
  for (const pattern of wanted) expect(output).toMatch(pattern);
});
