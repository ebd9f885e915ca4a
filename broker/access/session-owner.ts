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

/** Whose a persistent session is, and what its owner was allowed when it was last there. */
export type SessionOwner = Readonly<z.infer<typeof sessionOwnerSchema>>;

/** That and nothing else, as it is stored: what is undefined is left out, for msgpack would write null. */
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
