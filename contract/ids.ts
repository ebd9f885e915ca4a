import { z } from "zod";
import { EVENT_NAME, ID } from "./id-text.ts";

export { isEventName, isId } from "./id-text.ts";

export const idSchema = z.string().regex(ID, "must be 1 to 63 of a-z, 0-9 and '-', and must not begin with '-'");

export const eventNameSchema = z
  .string()
  .regex(EVENT_NAME, "must be 1 to 63 of a-z, 0-9, '_' and '-' in parts joined by '.'");
