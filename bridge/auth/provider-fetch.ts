/** The most bytes of an answer of an identity provider. A key with its certificate takes about 2 KiB. */
export const MAX_PROVIDER_ANSWER_BYTES = 1024 * 1024;

/** `fetch` for an identity provider: reading more than {@link MAX_PROVIDER_ANSWER_BYTES} of the body fails. */
export async function fetchLimited(address: string, init: RequestInit): Promise<Response> {
  const response = await fetch(address, init);
  let size = 0;
  const body = response.body?.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        size += chunk.length;
        if (size > MAX_PROVIDER_ANSWER_BYTES)
          controller.error(new Error(`the answer has more than ${MAX_PROVIDER_ANSWER_BYTES} bytes`));
        else controller.enqueue(chunk);
      },
    }),
  );
  return new Response(body, response);
}
