/** Follows links and sends forms like a browser, with its cookies by origin and path. */
export class CookieBrowser {
  readonly #cookies = new Map<string, { origin: string; path: string; name: string; value: string }>();
  /** Every address that was visited, and every `Set-Cookie`. */
  readonly visited: string[] = [];
  readonly setCookies: string[] = [];

  /** Follows redirects until the page that the test waits for. @returns its address and the response */
  async open(address: string, init: RequestInit = {}, until = (_address: URL) => false) {
    let url = new URL(address);
    let request = init;
    for (let hops = 0; hops < 20; hops++) {
      const response = await this.fetch(url, request);
      const location = response.headers.get("location");
      if (location === null) return { url, response };
      await response.arrayBuffer();
      url = new URL(location, url);
      request = {};
      this.visited.push(url.href);
      if (until(url)) return { url, response };
    }
    throw new Error(`more than 20 redirects, the last to ${url}`);
  }

  /** The header `Cookie` of a request. */
  cookiesFor(url: URL): string {
    const cookies = [...this.#cookies.values()].filter(
      ({ origin, path }) => origin === url.origin && `${url.pathname}/`.startsWith(path.replace(/\/?$/, "/")),
    );
    return cookies.map(({ name, value }) => `${name}=${value}`).join("; ");
  }

  async fetch(url: URL, init: RequestInit = {}): Promise<Response> {
    const cookie = this.cookiesFor(url);
    const headers = new Headers(init.headers);
    if (cookie !== "") headers.set("cookie", cookie);
    const response = await fetch(url, { ...init, headers, redirect: "manual" });
    for (const text of response.headers.getSetCookie()) this.#keep(url, text);
    return response;
  }

  #keep(url: URL, text: string): void {
    this.setCookies.push(text);
    const [pair = "", ...attributes] = text.split(/; */);
    const [name = "", value = ""] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
    const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? "/";
    const key = `${url.origin} ${path} ${name}`;
    if (attributes.some((attribute) => /^max-age=0$/i.test(attribute)) || value === "") this.#cookies.delete(key);
    else this.#cookies.set(key, { origin: url.origin, path, name, value });
  }
}
