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

/** Exactly the stored fields. Undefined fields are left out, because msgpack would write null for them. */
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
