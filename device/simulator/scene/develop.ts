import type { CameraSettings } from "../../../contract/events.ts";
import type { Light } from "./atmosphere.ts";
import type { Lens } from "./lens.ts";
import { randomFrom } from "./noise.ts";

const KEY = 0.2;
/** How far the exposure compensates changes of light: 0 not at all, 1 completely. */
const FOLLOWS = 0.85;
const NOON = 0.06;
const METER_STEP = 7;
const CURVE_STEPS = 8192;
/** The least light that the tone curve shows as white. */
const CURVE_END = 16;
const CURVE_SCALE = (CURVE_STEPS - 1) / Math.sqrt(CURVE_END);
const GRAIN = 65_536;

const WHITE_BALANCE: Record<NonNullable<CameraSettings["white_balance"]>, Light> = {
  auto: [1, 1, 1],
  daylight: [1.02, 1, 0.98],
  cloudy: [1.09, 1, 0.89],
  tungsten: [0.72, 0.96, 1.42],
  fluorescent: [0.86, 0.97, 1.16],
};

const grain = ((random) => Float32Array.from({ length: GRAIN }, () => random() + random() + random() - 1.5))(
  randomFrom(7),
);

/** Applies exposure, glare, white balance, tone curve, vignette and noise. The metered light is relative to the sun's. */
export function develop(
  light: Float32Array,
  lens: Lens,
  settings: CameraSettings,
  glare: { column: number; row: number; strength: Light } | undefined,
  frame: number,
): { pixels: Uint8Array; metered: number } {
  const { width, height } = lens;
  const pixels = new Uint8Array(width * height * 3);
  const metered = meter(light);
  const exposure = (KEY / NOON) * (NOON / metered) ** FOLLOWS * 2 ** (settings.exposure_compensation ?? 0);
  const [gainR, gainG, gainB] = WHITE_BALANCE[settings.white_balance ?? "auto"];
  const curve = createCurve(settings.hdr === true ? 0.35 : 0);
  const noise =
    0.9 + 2.2 * Math.min(1, Math.max(0, -Math.log10(metered) / 7)) ** 2 * Math.sqrt((settings.iso ?? 800) / 800);
  const random = randomFrom(frame);
  for (let row = 0; row < height; row++) {
    const offset = Math.floor(random() * GRAIN);
    const y = (row - height / 2) / height;
    for (let column = 0; column < width; column++) {
      const pixel = (row * width + column) * 3;
      const x = (column - width / 2) / width;
      const vignette = exposure * (1 - 0.42 * (x * x + y * y));
      let red = (light[pixel] ?? 0) * gainR;
      let green = (light[pixel + 1] ?? 0) * gainG;
      let blue = (light[pixel + 2] ?? 0) * gainB;
      if (glare !== undefined) {
        const far = ((column - glare.column) ** 2 + (row - glare.row) ** 2) / (width * width);
        const veil = 0.0011 / (far + 0.0011) + 0.09 / (1 + far * 14);
        red += glare.strength[0] * veil;
        green += glare.strength[1] * veil;
        blue += glare.strength[2] * veil;
      }
      const speck = noise * (grain[(offset + column) & (GRAIN - 1)] ?? 0);
      const hue = noise * 0.5 * (grain[(offset + column * 3 + 911) & (GRAIN - 1)] ?? 0);
      pixels[pixel] = toByte(curve[(Math.sqrt(red * vignette) * CURVE_SCALE) | 0] ?? 255, speck + hue);
      pixels[pixel + 1] = toByte(curve[(Math.sqrt(green * vignette) * CURVE_SCALE) | 0] ?? 255, speck);
      pixels[pixel + 2] = toByte(curve[(Math.sqrt(blue * vignette) * CURVE_SCALE) | 0] ?? 255, speck - hue);
    }
  }
  return { pixels, metered };
}

/** A geometric mean: a small bright sun does not make the rest of the picture dark. */
function meter(light: Float32Array): number {
  let sum = 0;
  let count = 0;
  for (let pixel = 0; pixel + 2 < light.length; pixel += 3 * METER_STEP) {
    sum += Math.log(1e-8 + 0.3 * (light[pixel] ?? 0) + 0.6 * (light[pixel + 1] ?? 0) + 0.1 * (light[pixel + 2] ?? 0));
    count++;
  }
  return Math.exp(sum / count);
}

/**
 * A table of display values from 0 to 255, indexed by the square root of the light. Applies a tone curve (the fit to
 * ACES by Narkowicz, 2015), then the curve of sRGB. @param lift how much the shadows are brightened
 */
function createCurve(lift: number): Float32Array {
  return Float32Array.from({ length: CURVE_STEPS }, (_, step) => {
    const light = (step / CURVE_SCALE) ** 2;
    const lifted = light * (1 + lift / (0.25 + light * 4));
    const film = Math.min(1, (lifted * (2.51 * lifted + 0.03)) / (lifted * (2.43 * lifted + 0.59) + 0.14));
    return 255 * (film <= 0.0031308 ? 12.92 * film : 1.055 * film ** (1 / 2.4) - 0.055);
  });
}

function toByte(shown: number, speck: number): number {
  const value = shown + speck;
  return value < 0 ? 0 : value > 254 ? 255 : value + 0.5;
}
