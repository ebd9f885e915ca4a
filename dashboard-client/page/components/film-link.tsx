import { type MouseEvent, type ReactNode, useState } from "react";
import type { Film } from "../../../contract/events.ts";
import type { FilmLinks } from "../film-links.ts";

interface FilmLinkProps {
  film: Pick<Film, "output" | "url">;
  camera: string | undefined;
  films: FilmLinks;
}

/** Plays a film in a new tab. */
export function FilmLink({ film: { output, url }, camera, films }: FilmLinkProps): ReactNode {
  const [problem, setProblem] = useState<string>();

  const open = async (event: MouseEvent): Promise<void> => {
    event.preventDefault();
    setProblem(undefined);
    // Browsers block a tab that opens after an answer of the server, so the tab opens first.
    const tab = window.open("about:blank", "_blank");
    if (tab !== null) tab.opener = null;
    try {
      (tab ?? window).location.replace(await films.open(camera, url));
    } catch (error) {
      tab?.close();
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };

  return (
    <>
      <a href={films.plain(url)} target="_blank" rel="noreferrer" data-testid="film-link" onClick={open}>
        {`Film ${output}`}
      </a>
      {problem !== undefined && <p className="job-error">{problem}</p>}
    </>
  );
}
