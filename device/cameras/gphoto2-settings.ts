import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraSettings } from "../../contract/events.ts";

/** One setting of a camera, and how the contract's is found among the values that the camera offers for it. */
interface Entry {
  /** What gphoto2 calls it. */
  name: string;
  setting: keyof CameraSettings;
  /** As an operator reads it. */
  wanted: string;
  /** @returns of a value that is offered how far it is from what was asked for; undefined: it will not do */
  distance: (choice: string) => number | undefined;
  /** The camera keeps a setting until it is set again, so one that was taken back is set to automatic. */
  takenBack?: boolean;
  /** What was really set. */
  taken: (choice: string) => CameraSettings;
}

/** What was asked for, put into the words of one camera. */
export interface Chosen {
  /** `name=value`, for `--set-config-value`. */
  assignments: string[];
  /** What the picture is really taken with. */
  settings: CameraSettings;
}

/** Cameras offer thirds of a stop: the nearest of them is at most half of one away. */
const NEAREST_STOP = 0.2;
const AUTOMATIC = /^auto/i;
const UNCOMPENSATED = /^[+-]?0(\.0+)?( ?EV)?$/i;
/** The same words for all makers, in what is looked for at a value's beginning. */
const WHITE_BALANCES: Record<NonNullable<CameraSettings["white_balance"]>, RegExp> = {
  auto: AUTOMATIC,
  daylight: /^(daylight|direct sunlight)/i,
  cloudy: /^cloudy/i,
  tungsten: /^(tungsten|incandescent)/i,
  fluorescent: /^fluorescent/i,
};

/** What gphoto2 calls the settings that are given. Quality and HDR are set at the camera itself. */
export function namesOf(settings: WantedSettings): string[] {
  return entriesOf(settings).map(({ name }) => name);
}

/**
 * Each maker has its own words: an exposure of 4 ms is `1/250` or `0.0040s`, an automatic white balance `Auto` or
 * `Automatic`. gphoto2 would take a number that is not offered for the place of a value in the list, and set that.
 *
 * @param offered the values that the camera has for each name
 * @throws Error naming what the camera does not offer
 */
export function choose(settings: WantedSettings, offered: ReadonlyMap<string, readonly string[]>): Chosen {
  const assignments: string[] = [];
  const taken: CameraSettings = {};
  for (const entry of entriesOf(settings)) {
    const choices = offered.get(entry.name) ?? [];
    const choice = nearest(choices, entry.distance);
    // A mode in which it cannot be set is one in which the camera chooses it.
    if (choice === undefined && entry.takenBack && choices.length === 0) continue;
    if (choice === undefined)
      throw new Error(
        choices.length === 0
          ? `the camera does not let ${entry.setting} be set in its present mode`
          : entry.takenBack
            ? `the camera does not choose ${entry.setting} by itself in its present mode: turn its mode dial to automatic, or set ${entry.setting}`
            : `the camera does not offer ${entry.wanted} as ${entry.setting}, but ${choices.join(", ").slice(0, 500)}`,
      );
    assignments.push(`${entry.name}=${choice}`);
    Object.assign(taken, entry.taken(choice));
  }
  return { assignments, settings: taken };
}

/** Reads what `gphoto2 --get-config` prints: blocks of lines, of which `Choice: 3 1/250` are the values. */
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
  if (exposure_s === null) entries.push(automatic("shutterspeed", "exposure_s", AUTOMATIC));
  else if (exposure_s !== undefined)
    entries.push({
      name: "shutterspeed",
      setting: "exposure_s",
      wanted: `${exposure_s} s`,
      distance: (choice) => within(NEAREST_STOP, Math.log2((numberIn(choice) ?? 0) / exposure_s)),
      taken: (choice) => ({ exposure_s: numberIn(choice) ?? exposure_s }),
    });
  if (iso === null) entries.push(automatic("iso", "iso", AUTOMATIC));
  else if (iso !== undefined)
    entries.push({
      name: "iso",
      setting: "iso",
      wanted: String(iso),
      distance: (choice) => within(NEAREST_STOP, Math.log2((numberIn(choice) ?? 0) / iso)),
      taken: (choice) => ({ iso: numberIn(choice) ?? iso }),
    });
  if (exposure_compensation === null)
    entries.push(automatic("exposurecompensation", "exposure_compensation", UNCOMPENSATED));
  else if (exposure_compensation !== undefined)
    entries.push({
      name: "exposurecompensation",
      setting: "exposure_compensation",
      wanted: String(exposure_compensation),
      distance: (choice) => within(NEAREST_STOP, (numberIn(choice) ?? Number.NaN) - exposure_compensation),
      taken: (choice) => ({ exposure_compensation: numberIn(choice) ?? exposure_compensation }),
    });
  if (white_balance === null) entries.push(automatic("whitebalance", "white_balance", AUTOMATIC));
  else if (white_balance !== undefined)
    entries.push({
      name: "whitebalance",
      setting: "white_balance",
      wanted: white_balance,
      distance: (choice) => (WHITE_BALANCES[white_balance].test(choice) ? 0 : undefined),
      taken: () => ({ white_balance }),
    });
  return entries;
}

function automatic(name: string, setting: keyof CameraSettings, words: RegExp): Entry {
  const distance = (choice: string): number | undefined => (words.test(choice) ? 0 : undefined);
  return { name, setting, wanted: "automatic", distance, takenBack: true, taken: () => ({}) };
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

/** Of `1/250`, `10/25`, `0.0040s`, `30`, `-1.666`, `+2`; undefined of words such as `Auto` and `bulb`. */
function numberIn(choice: string): number | undefined {
  const [, over = "", under = "1"] =
    /^([+-]?\d+(?:\.\d+)?)(?:\/(\d+(?:\.\d+)?))?(?: ?(?:s|sec|EV))?$/i.exec(choice) ?? [];
  return over === "" ? undefined : Number(over) / Number(under);
}
