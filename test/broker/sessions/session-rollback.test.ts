import { expect, it } from "vitest";
import { messageIdOf } from "../../../broker/sessions/session-flights.ts";
import { recordUpTo } from "../../../broker/sessions/session-rollback.ts";

it("a session whose store has lost the newest publications continues before them, and frees the message ids that its client may hold", () => {
  const record = recordUpTo(
    {
      sent: 20,
      open: [
        [9, 2, 1],
        [10, 1, 0],
        [12, 1, 0],
        [13, 2, 0],
        [14, 2, 1, 70],
        [15, 2, 0, 0],
      ],
      filters: [["a/#", 2, 0]],
    },
    10,
  );
  expect(record).toEqual({
    sent: 10,
    // The places 10 and 9 are taken. A publication with message id 0 was not sent.
    open: [
      [9, 2, 1],
      [10, 1, 0],
      [8, 2, 1, messageIdOf(13)],
      [7, 2, 1, 70],
    ],
    filters: [["a/#", 2, 0]],
  });
});
