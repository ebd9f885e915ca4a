import type { Figure, Row, Sample, Target } from "./row.ts";

export interface SideResult {
  name: string;
  samples: readonly Sample[];
}

export interface RowResult {
  row: Pick<Row, "name" | "title" | "figures">;
  method: string;
  sides: readonly SideResult[];
  /** The reason for a missing result, such as a missing delivery or an exited server. */
  failure: string | undefined;
}

export interface FigureResult {
  key: string;
  label: string;
  unit: string;
  sides: { name: string; median: number; values: number[] }[];
  /** The first side's median divided by the second's. */
  ratio: number | undefined;
  target: string | undefined;
  met: boolean | undefined;
}

export function figureResults({ row, sides }: RowResult): FigureResult[] {
  return row.figures.map((figure) => figureResult(figure, sides));
}

function figureResult({ key, label, unit, target }: Figure, sides: readonly SideResult[]): FigureResult {
  const results = sides.map(({ name, samples }) => {
    const values = samples.map((sample) => sample[key]).filter((value) => value !== undefined);
    return { name, median: median(values), values };
  });
  const [ours, peer] = results;
  const ratio = ours !== undefined && peer !== undefined ? ours.median / peer.median : undefined;
  return {
    key,
    label,
    unit,
    sides: results,
    ratio,
    target: target && targetText(target),
    met: target && isMet(target, ours?.median ?? Number.NaN, ratio ?? Number.NaN),
  };
}

function isMet(target: Target, value: number, ratio: number): boolean {
  if ("ratioAtMost" in target) return ratio <= target.ratioAtMost;
  if ("ratioAtLeast" in target) return ratio >= target.ratioAtLeast;
  return "atMost" in target ? value <= target.atMost : value >= target.atLeast;
}

function targetText(target: Target): string {
  if ("ratioAtMost" in target) return `≤ ${target.ratioAtMost} ×`;
  if ("ratioAtLeast" in target) return `≥ ${target.ratioAtLeast} ×`;
  return "atMost" in target ? `≤ ${number(target.atMost)}` : `≥ ${number(target.atLeast)}`;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

/** The text of a row: the work, medians with the lowest and highest round, the ratio, and the target. */
export function renderRow(result: RowResult): string {
  const { row, method, sides, failure } = result;
  const heading = `\n${row.name}: ${row.title}\n${method}\n`;
  if (failure !== undefined) return `${heading}FAILED: ${failure}\n`;
  const twoSided = sides.length > 1;
  const head = ["", ...sides.map(({ name }) => name), ...(twoSided ? ["ratio"] : []), "target", ""];
  const lines = figureResults(result).map((figure) => [
    figure.label,
    ...figure.sides.map(({ median: middle, values }) => `${number(middle)} ${figure.unit} ${spread(values)}`),
    ...(twoSided ? [figure.ratio === undefined ? "" : `${figure.ratio.toFixed(2)} ×`] : []),
    figure.target ?? "",
    figure.met === undefined ? "" : figure.met ? "reached" : "MISSED",
  ]);
  return `${heading}${table([head, ...lines])}`;
}

function spread(values: readonly number[]): string {
  return values.length < 2 ? "" : `(${number(Math.min(...values))} – ${number(Math.max(...values))})`;
}

/** Numbers below 100 have three significant digits. Others are rounded to whole numbers, such as `12,345`. */
function number(value: number): string {
  if (Number.isNaN(value)) return "-";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd();
  return `${rows.map(line).join("\n")}\n`;
}
