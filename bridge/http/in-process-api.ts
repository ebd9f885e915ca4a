import Fastify from "fastify";
import { toHttp } from "./errors.ts";
import { MAX_PARAM_LENGTH, readBodiesAsJson } from "./request-body.ts";
import { cameraGroupRoutes } from "./routes/camera-groups.ts";
import { deviceRoutes } from "./routes/devices.ts";
import { integrationRoutes } from "./routes/integrations.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { userRoutes } from "./routes/users.ts";
import type { OperatorServices } from "./services.ts";

export interface OperatorRequest {
  method: "GET" | "POST" | "PUT" | "DELETE";
  path: string;
  body?: object | undefined;
}

/**
 * Opens the routes for users, devices, camera groups and tokens without a port. They need no key, because a caller in this process
 * could also change the store directly.
 */
export function openInProcessApi(services: OperatorServices) {
  const server = Fastify({ routerOptions: { maxParamLength: MAX_PARAM_LENGTH } });
  readBodiesAsJson(server);
  server.setErrorHandler((error, _request, reply) => {
    const { statusCode, body } = toHttp(error);
    // This API writes no log, so the response says why.
    if (statusCode === 500 && error instanceof Error) body.error.message = error.message;
    reply.code(statusCode).send(body);
  });
  for (const routes of [cameraGroupRoutes, deviceRoutes, integrationRoutes, tokenRoutes, userRoutes])
    routes(server, services);
  return {
    async answer({ method, path, body }: OperatorRequest) {
      const { statusCode, payload } = await server.inject({
        ...{ method, url: path },
        ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
      });
      return { status: statusCode, text: payload };
    },
    stop: () => server.close(),
  };
}
