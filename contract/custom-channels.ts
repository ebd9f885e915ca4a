import { z } from "zod";
import { BUILT_IN_CHANNELS } from "./channels.ts";
import { filterProblem, isChannelName } from "./topics.ts";

const customChannelSchema = z.strictObject({
  filters: z
    .array(
      z.string().superRefine((filter, context) => {
        const problem = filterProblem(filter);
        if (problem !== undefined) context.addIssue({ code: "custom", message: `the filter ${problem}` });
      }),
    )
    .min(1)
    .max(32),
  permission: z.string().regex(/^[a-z0-9-]{1,63}(:[a-z0-9-]{1,63}){1,2}$/, "must be of the form name:read"),
});

/** The content of `CHANNELS_FILE`: channel name → channel. */
export const customChannelsSchema = z.record(
  z.string().refine((name) => isChannelName(name) && !BUILT_IN_CHANNELS.includes(name) && !name.startsWith("camera:"), {
    message: "must be 1 to 63 of a-z, 0-9 and '-', and not the name of a built-in channel",
  }),
  customChannelSchema,
);
