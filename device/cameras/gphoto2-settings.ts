import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraSettings } from "../../contract/events.ts";

interface Entry {
  name: string;
  setting: keyof CameraSettings;
  wanted: string;
  /** How far an offered value is from the requested one; undefined when it is too far. */
  distance: (choice: string) => number | undefined;
  /** Whether to reset the setting to automatic: the camera would otherwise keep the last value. */
  isReset?: boolean;
  taken: (choice: string) => CameraSettings;
}

/** Cameras offer thirds of a stop, so the nearest value is at most a sixth away. */
const NEAREST_STOP = 0.2;
const AUTOMATIC = /^auto/i;
const UNCOMPENSATED = /^[+-]?0(\.0+)?( ?EV)?$/i;
const WHITE_BALANCES: Record<NonNullable<CameraSettings["white_balance"]>, RegExp> = {
  auto: AUTOMATIC,
  daylight: /^(daylight|direct sunlight)/i,
  cloudy: /^cloudy/i,
  tungsten: /^(tungsten|incandescent)/i,
  fluorescent: /^fluorescent/i,
};

/** gphoto2's names of the requested settings. Quality and HDR are set at the camera itself. */
export function namesOf(settings: WantedSettings): string[] {
  return entriesOf(settings).map(({ name }) => name);
}

/**
 * Chooses among the values that the camera offers, by gphoto2's names. Each maker writes values differently: 4 ms is
 * `1/250` or `0.0040s`, an automatic white balance `Auto` or `Automatic`. gphoto2 would treat any other number as a
 * position in the list.
 * @throws Error that names a setting which the camera does not offer
 */
export function choose(settings: WantedSettings, offered: ReadonlyMap<string, readonly string[]>) {
  const assignments: string[] = [];
  const taken: CameraSettings = {};
  for (const entry of entriesOf(settings)) {
    const choices = offered.get(entry.name) ?? [];
    const choice = nearest(choices, entry.distance);
    if (choice === undefined && entry.isReset && choices.length === 0) continue;
    if (choice === undefined)
      throw new Error(
        choices.length === 0
          ? `${entry.setting} cannot be set in the camera's present mode`
          : entry.isReset
            ? `the camera does not choose ${entry.setting} automatically in its present mode: turn its mode dial to automatic, or set ${entry.setting}`
            : `the camera does not offer ${entry.wanted} for ${entry.setting}, only ${choices.join(", ").slice(0, 500)}`,
      );
    assignments.push(`${entry.name}=${choice}`);
    Object.assign(taken, entry.taken(choice));
  }
  return { assignments, settings: taken };
}

/** Parses `gphoto2 --get-config`: a block of lines for each name, with values such as `Choice: 3 1/250`. */
export function readChoices(output: string, names: readonly string[]): Map<string, string[]> {
  const blocks = output.split(/^Label:.*$/m).slice(1);
  return new Map(
    names.map((name, index) => [
      name,
      [...(blocks[index] ?? "").matchAll(/^Choice: \d+ (.*)$/gm)].map(([, choice = ""]) => choice.trim()),
    ]),
  );
}

function entriesOf({ exposure_s, iso, exposure_compensation, white_balance }: WantedSettings): Entry[] {
  const entries: Entry[] = [];
  const number = (
    name: string,
    setting: "exposure_s" | "iso" | "exposure_compensation",
    value: number,
    stops: (offered: number) => number,
    wanted = String(value),
  ): void => {
    const distance = (choice: string): number | undefined =>
      within(NEAREST_STOP, stops(numberIn(choice) ?? Number.NaN));
    entries.push({ name, setting, wanted, distance, taken: (choice) => ({ [setting]: numberIn(choice) ?? value }) });
  };
  if (exposure_s === null) entries.push(automatic("shutterspeed", "exposure_s", AUTOMATIC));
  else if (exposure_s !== undefined)
    number("shutterspeed", "exposure_s", exposure_s, (offered) => Math.log2(offered / exposure_s), `${exposure_s} s`);
  if (iso === null) entries.push(automatic("iso", "iso", AUTOMATIC));
  else if (iso !== undefined) number("iso", "iso", iso, (offered) => Math.log2(offered / iso));
  if (exposure_compensation === null)
    entries.push(automatic("exposurecompensation", "exposure_compensation", UNCOMPENSATED));
  else if (exposure_compensation !== undefined)
    number(
      "exposurecompensation",
      "exposure_compensation",
      exposure_compensation,
      (offered) => offered - exposure_compensation,
    );
  if (white_balance === null) entries.push(automatic("whitebalance", "white_balance", AUTOMATIC));
  else if (white_balance !== undefined) {
    const distance = (choice: string): number | undefined =>
      WHITE_BALANCES[white_balance].test(choice) ? 0 : undefined;
    entries.push({
      name: "whitebalance",
      setting: "white_balance",
      wanted: white_balance,
      distance,
      taken: () => ({ white_balance }),
    });
  }
  return entries;
}

function automatic(name: string, setting: keyof CameraSettings, words: RegExp): Entry {
  const distance = (choice: string): number | undefined => (words.test(choice) ? 0 : undefined);
  return { name, setting, wanted: "automatic", distance, isReset: true, taken: () => ({}) };
}

function nearest(choices: readonly string[], distance: Entry["distance"]): string | undefined {
  let best: { choice: string; away: number } | undefined;
  for (const choice of choices) {
    const away = distance(choice);
    if (away !== undefined && (best === undefined || away < best.away)) best = { choice, away };
  }
  return best?.choice;
}

function within(limit: number, difference: number): number | undefined {
  return Math.abs(difference) <= limit ? Math.abs(difference) : undefined;
}

/** Parses `1/250`, `0.0040s`, `30`, `-1.666` and `+2`; undefined for words such as `Auto` and `bulb`. */
function numberIn(choice: string): number | undefined {
  const [, over = "", under = "1"] =
    /^([+-]?\d+(?:\.\d+)?)(?:\/(\d+(?:\.\d+)?))?(?: ?(?:s|sec|EV))?$/i.exec(choice) ?? [];
  return over === "" ? undefined : Number(over) / Number(under);
}
