import { z } from "zod";
import type { Bearer } from "../../platform/identity.ts";

/** {@link Bearer} as it is stored. */
export const bearerSchema = z.object({
  identity: z.string(),
  tokenId: z.string().optional(),
  sessionId: z.string().optional(),
  issuedAt: z.number().optional(),
  expiresAt: z.number().optional(),
}) satisfies z.ZodType<Bearer>;

export const sessionOwnerSchema = bearerSchema.extend({ permissions: z.array(z.string()).readonly() });

/** The owner of a persistent session, with the permissions of its last connection. */
export type SessionOwner = Readonly<z.infer<typeof sessionOwnerSchema>>;

/** Only the stored fields. Leaves out undefined fields, for which msgpack would write null. */
export function bearerOf({ identity, tokenId, sessionId, issuedAt, expiresAt }: Bearer): Bearer {
  return {
    identity,
    ...(tokenId === undefined ? {} : { tokenId }),
    ...(sessionId === undefined ? {} : { sessionId }),
    ...(issuedAt === undefined ? {} : { issuedAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

export function ownerOf(owner: SessionOwner): SessionOwner {
  return { ...bearerOf(owner), permissions: [...owner.permissions] };
}
