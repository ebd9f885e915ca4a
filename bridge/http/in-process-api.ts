import Fastify from "fastify";
import { toHttp } from "./errors.ts";
import { deviceRoutes } from "./routes/devices.ts";
import { MAX_PARAM_LENGTH, readBodiesAsJson } from "./routes/request-body.ts";
import type { OperatorServices } from "./routes/services.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { userRoutes } from "./routes/users.ts";

export interface OperatorRequest {
  method: "GET" | "POST" | "PUT" | "DELETE";
  path: string;
  body?: object | undefined;
}

/** Answers what an operator asks of users, devices and tokens. */
export interface InProcessApi {
  answer(request: OperatorRequest): Promise<{ status: number; text: string }>;
  stop(): Promise<void>;
}

/**
 * By the routes that a server has, but without a port: so what is checked, audited and done in which order is said once.
 * It asks for no key: who can open the store needs none.
 */
export function openInProcessApi(services: OperatorServices): InProcessApi {
  const server = Fastify({ routerOptions: { maxParamLength: MAX_PARAM_LENGTH } });
  readBodiesAsJson(server);
  server.setErrorHandler((error, _request, reply) => {
    const { statusCode, body } = toHttp(error);
    // There is no log that says why.
    if (statusCode === 500 && error instanceof Error) body.error.message = error.message;
    reply.code(statusCode).send(body);
  });
  for (const routes of [deviceRoutes, tokenRoutes, userRoutes]) routes(server, services);
  return {
    async answer({ method, path, body }) {
      const { statusCode, payload } = await server.inject({
        ...{ method, url: path },
        ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
      });
      return { status: statusCode, text: payload };
    },
    stop: () => server.close(),
  };
}
