// A line over time as an SVG path, with round numbers beside it.

import type { Point } from './path';

export interface Plot {
  line: string;
  dots: { x: number; y: number }[];
  lines: { value: number; y: number }[];
  low: number;
  high: number;
}

const PAD = 14;

/** Places points in a frame of so many px. Two or three round values get a line across. */
export function plot(points: readonly Point[], width: number, height: number): Plot {
  const values = points.map((point) => point.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [from, to] = [points[0]?.ms ?? 0, points.at(-1)?.ms ?? 0];
  const across = (ms: number) => (to > from ? PAD + ((ms - from) / (to - from)) * (width - 2 * PAD) : width / 2);
  const up = (value: number) => (high > low ? height - PAD - ((value - low) / (high - low)) * (height - 2 * PAD) : height / 2);
  const dots = points.map((point) => ({ x: round(across(point.ms)), y: round(up(point.value)) }));
  const line = dots.map((dot, i) => `${i ? 'L' : 'M'}${dot.x} ${dot.y}`).join('');
  return { line, dots, lines: roundValues(low, high).map((value) => ({ value, y: round(up(value)) })), low, high };
}

/** Round numbers within a range, two to five of them; the one value where it is no range. */
export function roundValues(low: number, high: number): number[] {
  if (!(high > low)) return Number.isFinite(low) ? [low] : [];
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.8)!;
  const values: number[] = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) values.push(Number((i * step).toPrecision(12)));
  return values;
}

const round = (value: number) => Math.round(value * 10) / 10;
