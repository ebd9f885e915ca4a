import type { ReactNode } from "react";
import { ApiError } from "../../api/api-client.ts";
import { t } from "../../text/i18n.ts";

const isUnavailable = (error: Error): boolean => error instanceof ApiError && error.code === "archive_unavailable";

/** An archive that is off does not come back within seconds. */
export function retryArchive(failures: number, error: Error): boolean {
  return failures < 3 && !isUnavailable(error) && !(error instanceof ApiError && error.status < 500);
}

/** Says why the archive gave no answer. */
export function ArchiveProblem({ error, onRetry }: { error: Error; onRetry: () => void }): ReactNode {
  return (
    <p className="form-problem" role="alert">
      <span>
        {isUnavailable(error) ? t("charts.unavailable") : t("common.loadingFailed", { reason: error.message })}
      </span>
      <button type="button" className="text-button" onClick={onRetry}>
        {t("common.retry")}
      </button>
    </p>
  );
}
