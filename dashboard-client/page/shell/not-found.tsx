import type { ReactNode } from "react";
import { Link } from "wouter";
import { t } from "../text/i18n.ts";
import { usePlaceTitle } from "./page-title.ts";

export function NotFound(): ReactNode {
  usePlaceTitle(t("place.notFound"));
  return (
    <section className="empty">
      <h1>{t("place.notFound")}</h1>
      <p>
        <Link href="/">{t("place.backToFleet")}</Link>
      </p>
    </section>
  );
}
