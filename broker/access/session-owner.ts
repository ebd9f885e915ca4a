import { z } from "zod";

/**
 * Who somebody was when a session, or a will, was last his: the identity, and what tells whether the token or the secret
 * that he came with is still good. Records of earlier versions know the identity alone.
 */
export const bearerSchema = z.object({
  /** `user:alice`, `device:north`, `service:stacker`. */
  identity: z.string(),
  /** The claim `jti` of the token. */
  tokenId: z.string().optional(),
  /** The login that the token comes from. */
  sessionId: z.string().optional(),
  /** When the token was issued, or since when the device has this secret, milliseconds since 1970. */
  issuedAt: z.number().optional(),
  /** When the token expires, milliseconds since 1970; undefined for a device. */
  expiresAt: z.number().optional(),
});
export type Bearer = Readonly<z.infer<typeof bearerSchema>>;

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
