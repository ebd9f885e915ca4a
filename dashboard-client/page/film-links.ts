import { checked, object, text } from "../../contract/guards.ts";
import type { Access } from "./access.ts";
import { t } from "./text/i18n.ts";

const isLink = object<{ token: string }>({ token: text() });

/** Opens the films that processing services have made. A browser that plays a film sends no token in a header. */
export class FilmLinks {
  readonly #base: string;
  readonly #access: Pick<Access, "post">;

  /** @param base the address of the server, such as `https://sky.example.org/` */
  constructor(base: string, access: Pick<Access, "post">) {
    this.#base = base;
    this.#access = access;
  }

  /** The address of a film without a token. A path of a film begins at the address of the server. */
  plain(url: string): string {
    return url.startsWith("/") ? new URL(url.slice(1), this.#base).href : url;
  }

  /**
   * An address that plays the film for an hour.
   * @param camera the camera of the film
   * @param url as in `job.completed`
   * @throws {Error} with a message for the user
   */
  async open(camera: string | undefined, url: string): Promise<string> {
    const address = new URL(this.plain(url));
    const film = address.pathname.split("/").at(-1) ?? "";
    // A service that asks the server who may watch its films begins their names with the camera's id.
    if (camera === undefined || !film.startsWith(`${camera}.`)) return address.href;
    const answer = await this.#access.post(["cameras", camera, "films", film, "link"].join("/"));
    if (!answer.ok) throw new Error(t("shell.filmNotOpened", { status: answer.status }));
    address.searchParams.set("token", checked(isLink, await answer.json()).token);
    return address.href;
  }

  /**
   * An address that saves the film as a file. The attribute `download` works only for films of the server's own origin,
   * so the address asks the service for a download. @throws {Error} with a message for the user
   */
  async openDownload(camera: string | undefined, url: string): Promise<string> {
    const address = new URL(await this.open(camera, url));
    if (address.searchParams.has("token")) address.searchParams.set("download", "1");
    return address.href;
  }
}
