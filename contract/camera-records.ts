import { z } from "zod";
import { idSchema } from "./ids.ts";

export const MAX_CAMERA_NAME_LENGTH = 100;
export const MAX_CAMERA_NOTES_LENGTH = 4_000;
export const MAX_TAGS_PER_CAMERA = 20;
export const MAX_TAG_LENGTH = 40;
export const MAX_GROUP_NAME_LENGTH = 100;
export const MAX_CAMERAS_PER_GROUP = 1_000;

/** One line of text that a person writes. No control character, and no character that reverses the order of others. */
const lineSchema = (maxLength: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(maxLength)
    .regex(/^[^\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]*$/u, "must be one line of printable characters");

export const cameraLocationSchema = z.strictObject({
  lat: z.number().min(-90).max(90),
  lon: z.number().min(-180).max(180),
});

/** What an operator writes about a camera. */
export const cameraNoteSchema = z.object({
  /** Replaces the name that the camera sends. */
  name: lineSchema(MAX_CAMERA_NAME_LENGTH).optional(),
  notes: z.string().min(1).max(MAX_CAMERA_NOTES_LENGTH).optional(),
  /** The place on a map. Replaces the place that the camera sends. */
  location: cameraLocationSchema.optional(),
  tags: z.array(lineSchema(MAX_TAG_LENGTH)).max(MAX_TAGS_PER_CAMERA),
});
export type CameraNote = z.infer<typeof cameraNoteSchema>;

export const groupNameSchema = lineSchema(MAX_GROUP_NAME_LENGTH);
export const groupCamerasSchema = z.array(idSchema).max(MAX_CAMERAS_PER_GROUP);

/** A camera's state `record`: what operators wrote about the camera, and the groups that contain it, sorted by id. */
export const cameraRecordSchema = z.object({
  name: z.string().optional(),
  notes: z.string().optional(),
  location: z.object({ lat: z.number().min(-90).max(90), lon: z.number().min(-180).max(180) }).optional(),
  tags: z.array(z.string()),
  groups: z.array(z.object({ id: idSchema, name: z.string() })),
});
export type CameraRecord = z.infer<typeof cameraRecordSchema>;
