import type { FastifyInstance } from "fastify";

/** The route of the page's files. It answers only paths for which there is a file, such as `/`. */
const FILES = "/*";

export interface RouteMethods {
  /** The methods that a path answers, in the order of their routes. Empty for a path without a route. */
  of(path: string): string[];
}

/** Collects the routes added from now on, to tell a wrong method (405) from a wrong path (404), RFC 9110 15.5.6. */
export function collectRouteMethods(server: FastifyInstance): RouteMethods {
  const routes: { segments: readonly string[]; methods: readonly string[] }[] = [];
  server.addHook("onRoute", ({ url, method }) => {
    // The CORS route, which answers OPTIONS for every path.
    if (url === "*") return;
    routes.push({ segments: (url === FILES ? "/" : url).split("/"), methods: [method].flat() });
  });
  return {
    of(path) {
      const segments = path.split("/");
      const methods = routes.filter((route) => matches(route.segments, segments)).flatMap((route) => route.methods);
      return [...new Set(methods)];
    },
  };
}

function matches(route: readonly string[], path: readonly string[]): boolean {
  if (route.length !== path.length) return false;
  return route.every((segment, index) => (segment.startsWith(":") ? path[index] !== "" : segment === path[index]));
}
