import type { HeightGrid } from "./geometry-buffer.ts";
import type { Vector } from "./lens.ts";
import { smoothstep } from "./noise.ts";

const STEPS = 30;
/** The steps towards the light become longer: near edges have sharp shadows, far edges soft ones. */
const GROWTH = 1.16;
/** Slope between light and ridge: full shadow below DARK, full light above BRIGHT. */
const DARK = -0.011;
const BRIGHT = 0.006;

export function castShadows(grid: HeightGrid, light: Vector, into: Float32Array): void {
  const { columns, rows, cell, heights, visible } = grid;
  const flat = Math.hypot(light.x, light.z) || 1e-6;
  const climb = light.y / flat;
  const stepX = light.x / flat;
  const stepZ = light.z / flat;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const point = row * columns + column;
      if (visible[point] === 0) continue;
      const from = heights[point] ?? 0;
      let clear = 1;
      let away = 1.3;
      for (let step = 0; step < STEPS; step++) {
        const toColumn = column + stepX * away;
        const toRow = row + stepZ * away;
        if (toColumn < 0 || toRow < 0 || toColumn > columns - 1 || toRow > rows - 1) break;
        const ground = heights[Math.round(toRow) * columns + Math.round(toColumn)] ?? 0;
        const kilometres = away * cell;
        clear = Math.min(clear, climb - (ground - from) / kilometres);
        if (clear < DARK) break;
        away *= GROWTH;
        away += 0.4;
      }
      into[point] = smoothstep(DARK, BRIGHT, clear);
    }
  }
}
