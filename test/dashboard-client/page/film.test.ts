import { describe, expect, it } from "vitest";
import type { Picture } from "../../../dashboard-client/page/pictures.ts";
import { Film } from "../../../dashboard-client/page/places/camera/overview/film.ts";

/** Pictures that finish loading when the test says so. */
function slowPictures() {
  const asked: string[] = [];
  const released: string[] = [];
  const resolvers = new Map<string, (picture: Picture | Error) => void>();
  let lastSignal: AbortSignal | undefined;
  const endAll = (): void => {
    for (const end of resolvers.values()) end(new Error("the loads were cancelled"));
  };
  const frame = async (camera: string, capture: string, signal: AbortSignal): Promise<Picture> => {
    asked.push(capture);
    const found = await new Promise<Picture | Error>((resolve) => {
      resolvers.set(capture, resolve);
      // All requests share one abort signal.
      if (signal !== lastSignal) signal.addEventListener("abort", endAll);
      lastSignal = signal;
    });
    if (found instanceof Error) throw found;
    expect(camera).toBe("north");
    return found;
  };
  const deliver = async (capture: string, error?: Error): Promise<void> => {
    const release = (): void => void released.push(capture);
    const size = { width: 4, height: 3, etag: undefined, takenAt: undefined, receivedAt: undefined };
    resolvers.get(capture)?.(error ?? { src: `blob:${capture}`, release, ...size });
    await new Promise((resolve) => setTimeout(resolve));
  };
  return { film: new Film({ frame }, "north"), asked, released, deliver };
}

describe("the pictures of a filmstrip", () => {
  it("are loaded once each, even if they are requested several times", async () => {
    const { film, asked, deliver } = slowPictures();
    const loads = [film.load("a"), film.load("a")];
    await deliver("a");
    for (const picture of await Promise.all(loads)) expect(picture?.src).toBe("blob:a");
    expect(await film.load("a")).toBe(film.held("a"));
    expect(asked).toEqual(["a"]);
  });

  it("are loaded three at a time, the latest request first", async () => {
    const { film, asked, deliver } = slowPictures();
    for (const capture of ["a", "b", "c", "d", "e"]) void film.load(capture);
    expect(asked).toEqual(["a", "b", "c"]);
    await deliver("b");
    expect(asked).toEqual(["a", "b", "c", "e"]);
    await deliver("e");
    expect(asked).toEqual(["a", "b", "c", "e", "d"]);
  });

  it("are undefined if they cannot be loaded, and are loaded again at the next request", async () => {
    const { film, asked, deliver } = slowPictures();
    const load = film.load("a");
    await deliver("a", new Error("no network"));
    expect(await load).toBeUndefined();
    void film.load("a");
    expect(asked).toEqual(["a", "a"]);
  });

  it("are released one by one above the limit, and all at the end", async () => {
    const { film, released, deliver } = slowPictures();
    for (let n = 0; n < 162; n++) {
      const load = film.load(`p${n}`);
      await deliver(`p${n}`);
      await load;
    }
    expect(released).toEqual(["p0", "p1"]);
    const waiting = ["w1", "w2", "w3", "w4", "w5"].map((capture) => film.load(capture));
    film.close();
    expect(await Promise.all(waiting)).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect(released).toHaveLength(162);
    expect(film.held("p161")).toBeUndefined();
  });
});
