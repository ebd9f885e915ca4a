import { expect, it } from "vitest";
import { FilmLinks } from "../../../dashboard-client/page/film-links.ts";

const BASE = "https://sky.example.org/sky/";
const FILM = "north.1080p-7f3a.mp4";

/** Answers as the server does, and collects the requested paths. */
function filmLinks(status = 200) {
  const asked: string[] = [];
  const post = async (path: string) => {
    asked.push(path);
    return Response.json({ token: "a.b.c" }, { status });
  };
  return { asked, films: new FilmLinks(BASE, { post }) };
}

it("opens or downloads a film at the address of the server or at another address, with a token for this film", async () => {
  const { asked, films } = filmLinks();
  expect(films.plain(`/films/${FILM}`)).toBe(`${BASE}films/${FILM}`);
  expect(await films.open("north", `/films/${FILM}`)).toBe(`${BASE}films/${FILM}?token=a.b.c`);
  const other = `http://127.0.0.1:8090/films/${FILM}`;
  expect(await films.open("north", other)).toBe(`${other}?token=a.b.c`);
  expect(await films.openDownload("north", other)).toBe(`${other}?token=a.b.c&download=1`);
  expect(asked).toEqual(Array(3).fill(`cameras/north/films/${FILM}/link`));
});

it("adds no token to a film whose name does not begin with the camera's id, and says why a film does not open", async () => {
  const { asked, films } = filmLinks(403);
  const signed = "https://bucket.example.org/day.mp4?signature=1";
  expect(await films.open("north", signed)).toBe(signed);
  expect(await films.openDownload("north", signed)).toBe(signed);
  expect(await films.open("south", `/films/${FILM}`)).toBe(`${BASE}films/${FILM}`);
  expect(asked).toEqual([]);
  await expect(films.open("north", `/films/${FILM}`)).rejects.toThrow("The film could not be opened (HTTP 403)");
});
