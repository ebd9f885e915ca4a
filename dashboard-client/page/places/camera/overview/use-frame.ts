import { useEffect, useState } from "react";
import type { Picture } from "../../../pictures.ts";
import type { Film } from "./film.ts";

/** Undefined until the picture is loaded. @param capture undefined loads nothing */
export function useFrame(film: Film | undefined, capture: string | undefined): Picture | undefined {
  const [, setLoaded] = useState<string>();
  useEffect(() => {
    if (film === undefined || capture === undefined) return;
    let isCurrent = true;
    void film.load(capture).then(() => isCurrent && setLoaded(capture));
    return () => {
      isCurrent = false;
    };
  }, [film, capture]);
  return capture === undefined ? undefined : film?.held(capture);
}
