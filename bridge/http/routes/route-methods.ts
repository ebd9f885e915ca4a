import type { FastifyInstance } from "fastify";

/** The page's files: a path is there only when its file is, as that of `/` is. */
const FILES = "/*";

export interface RouteMethods {
  /** The methods that a path answers, in the order of their routes; none for a path that nothing is at. */
  of(path: string): string[];
}

/** Notes every route that is made from now on: so a wrong method (405) is told from a wrong path (404), RFC 9110, section 15.5.6. */
export function collectRouteMethods(server: FastifyInstance): RouteMethods {
  const routes: { segments: readonly string[]; methods: readonly string[] }[] = [];
  server.addHook("onRoute", ({ url, method }) => {
    // That of CORS answers OPTIONS for every path there may be.
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
