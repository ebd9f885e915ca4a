import { type MouseEvent, type ReactNode, useState } from "react";
import type { Film } from "../../../contract/events.ts";
import type { FilmLinks } from "../film-links.ts";
import { formatBytes, formatDuration, formatNumber } from "../text/format.ts";
import { t } from "../text/i18n.ts";

interface FilmLinkProps {
  film: Film;
  camera: string | undefined;
  films: FilmLinks;
}

/** Plays a film in a new tab, or downloads it. */
export function FilmLink({ film, camera, films }: FilmLinkProps): ReactNode {
  const [problem, setProblem] = useState<string>();
  const { output, url, size_bytes, duration_s, frames } = film;
  const facts = t("jobs.filmFacts", {
    ...{ size: formatBytes(size_bytes), duration: formatDuration(duration_s * 1000), frames: formatNumber(frames) },
  });

  const attempt = (open: () => Promise<void>): void => {
    setProblem(undefined);
    open().catch((error: unknown) => setProblem(error instanceof Error ? error.message : String(error)));
  };

  const play = (event: MouseEvent): void => {
    event.preventDefault();
    // Browsers block a tab that opens after an answer of the server, so the tab opens first.
    const tab = window.open("about:blank", "_blank");
    if (tab !== null) tab.opener = null;
    attempt(async () => {
      try {
        (tab ?? window).location.replace(await films.open(camera, url));
      } catch (error) {
        tab?.close();
        throw error;
      }
    });
  };

  const download = (event: MouseEvent): void => {
    event.preventDefault();
    attempt(async () => {
      const link = document.createElement("a");
      link.href = await films.openDownload(camera, url);
      // A film of a service that knows nothing of downloads must not replace the page.
      link.target = "_blank";
      link.download = new URL(films.plain(url)).pathname.split("/").at(-1) ?? "";
      link.rel = "noreferrer";
      link.click();
    });
  };

  const address = films.plain(url);
  return (
    <span className="films-item">
      <a
        href={address}
        target="_blank"
        rel="noreferrer"
        data-testid="film-link"
        className="button small"
        onClick={play}
      >
        {t("jobs.play", { output })}
      </a>
      <a href={address} download data-testid="film-download" className="button small" onClick={download}>
        {t("jobs.download")}
      </a>
      <span className="films-facts">{facts}</span>
      {problem !== undefined && (
        <span className="form-problem" role="alert">
          {problem}
        </span>
      )}
    </span>
  );
}
