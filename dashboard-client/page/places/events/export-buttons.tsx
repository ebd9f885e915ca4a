import { type ReactNode, useState } from "react";
import { pathWith } from "../../api/history.ts";
import { useServices } from "../../services.tsx";
import { formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";

/** The most events of an export, because the browser holds the file in memory. The HTTP API has no such limit. */
const MAX_EXPORTED = 50_000;
const FORMATS = ["csv", "ndjson"] as const;
const TIMEOUT_MS = 10 * 60_000;

/** Downloads the events of a search. */
export function ExportButtons({ filters }: { filters: Readonly<Record<string, string>> }): ReactNode {
  const { base, access } = useServices();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();

  const download = async (format: (typeof FORMATS)[number]): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      const path = pathWith("events", { ...filters, format, limit: String(MAX_EXPORTED) });
      const answer = await access.request(new URL(path, base), { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      save(await answer.blob(), `events.${format}`);
    } catch (error) {
      setProblem(t("events.exportFailed", { reason: error instanceof Error ? error.message : String(error) }));
    } finally {
      setBusy(false);
    }
  };

  return (
    <>
      {FORMATS.map((format) => (
        <button
          key={format}
          type="button"
          className="button"
          disabled={busy}
          title={t("events.exportHint", { count: formatNumber(MAX_EXPORTED) })}
          onClick={() => void download(format)}
        >
          {t("events.export", { format: format.toUpperCase() })}
        </button>
      ))}
      {problem !== undefined && (
        <p className="form-problem" role="alert">
          {problem}
        </p>
      )}
    </>
  );
}

function save(file: Blob, name: string): void {
  const url = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun to read the file.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
