import type { ReactNode } from "react";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";

export default function PeoplePlace(): ReactNode {
  usePlaceTitle(t("place.people"));
  return (
    <div className="place">
      <h1>{t("place.people")}</h1>
    </div>
  );
}
