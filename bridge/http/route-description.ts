import type { FastifyInstance, RouteOptions, RouteShorthandOptions } from "fastify";
import type { z } from "zod";
import type { ErrorName } from "./error-codes.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The route's entry in the OpenAPI document. */
    description?: RouteDescription;
  }
}

/** The entry of a route in the OpenAPI document. The entry is written beside the route and uses the route's schemas. */
export interface RouteDescription {
  /** The heading of the group in `docs/http.md`. */
  group: string;
  summary: string;
  /**
   * Permissions. Each is sufficient, as are `admin` and the operator key. An empty list: only the operator key.
   * Default: the route needs no credentials.
   */
  permissions?: readonly string[];
  /** Every valid token suffices, whatever its permissions. Default: false. */
  needsToken?: boolean;
  /** In trial mode, requests from this machine need no credentials. Default: false. */
  openInTrial?: boolean;
  path?: z.ZodObject;
  query?: z.ZodObject;
  /** A schema that accepts undefined means that the body may be missing. */
  body?: z.ZodType;
  responses: Readonly<Record<number, ResponseDescription>>;
  /** The errors of this route, except those that `errorsOf` in `openapi.ts` adds by itself. */
  errors?: readonly ErrorName[];
}

interface ResponseDescription {
  /** The meaning of the response. */
  is: string;
  /** The schema of a JSON body. */
  json?: z.ZodType;
  /** The media types of bodies that are not JSON. Without these and {@link json}, the response has no body. */
  types?: readonly string[];
  /** Response headers and their meanings. */
  headers?: Readonly<Record<string, string>>;
}

/** The options of a route with its description. */
export function described(description: RouteDescription, options: RouteShorthandOptions = {}): RouteShorthandOptions {
  return { ...options, config: { ...options.config, description } };
}

export interface DescribedRoute {
  method: string;
  /** As in Fastify, such as `/users/:id`. */
  url: string;
  /** Whether the route has a limit of requests: the general one or its own. */
  isLimited: boolean;
  description: RouteDescription;
}

/**
 * Collects the routes that are added after this call. @returns a function that returns the routes with a description
 */
export function collectDescriptions(server: FastifyInstance): () => DescribedRoute[] {
  const added: RouteOptions[] = [];
  server.addHook("onRoute", (route) => void added.push(route));
  return () =>
    added.flatMap(({ method, url, config }) => {
      const { description, rateLimit } = config ?? {};
      if (description === undefined) return [];
      const methods = [method].flat().filter((one) => one !== "HEAD");
      return methods.map((one) => ({ method: one, url, isLimited: rateLimit !== false, description }));
    });
}
