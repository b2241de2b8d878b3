// A loudness curve: points of (seconds, decibels), straight in decibels between them, as studio/drawing.py reads it.

export const SILENCE = -60;
export const TOP = 0;
const POINTS_A_SECOND = 10;

export function levelAt(curve, seconds) {
  if (seconds < curve[0][0]) return curve[0][1];
  let low = 0;
  let high = curve.length - 1;
  if (seconds >= curve[high][0]) return curve[high][1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (curve[middle][0] <= seconds) low = middle;
    else high = middle - 1;
  }
  const [from, to] = [curve[low], curve[low + 1]];
  return to[0] === from[0] ? to[1] : from[1] + ((to[1] - from[1]) * (seconds - from[0])) / (to[0] - from[0]);
}

// What the model receives: ten levels a second, each at the middle of its tenth.
export function modelLevels(curve, seconds) {
  const count = Math.ceil(Math.round(seconds * POINTS_A_SECOND * 1e6) / 1e6);
  return Array.from({ length: count }, (_, number) => levelAt(curve, (number + 0.5) / POINTS_A_SECOND));
}

export const rounded = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const point = (seconds, level, length) => [
  rounded(clamp(seconds, 0, length), 4), rounded(clamp(level, SILENCE, TOP), 2),
];

export function added(curve, given) {
  const points = (curve ?? []).filter((old) => old[0] !== given[0]);
  const place = points.findIndex((old) => old[0] > given[0]);
  if (place < 0) return [[...points, given], points.length];
  return [[...points.slice(0, place), given, ...points.slice(place)], place];
}

// A point stays between its neighbours: times do not fall.
export function moved(curve, index, seconds, level, length) {
  const low = index > 0 ? curve[index - 1][0] : 0;
  const high = index + 1 < curve.length ? curve[index + 1][0] : length;
  return curve.map((old, number) => (number === index ? point(clamp(seconds, low, high), level, length) : old));
}

// The fewest of the given points (by halving) from which no other one is further away than this many decibels.
export function simplified(points, tolerance = 0.5) {
  if (points.length < 3) return points;
  const kept = new Set([0, points.length - 1]);
  const ahead = [[0, points.length - 1]];
  while (ahead.length) {
    const [first, last] = ahead.pop();
    let worst = tolerance;
    let place = -1;
    for (let number = first + 1; number < last; number += 1) {
      const error = Math.abs(points[number][1] - levelAt([points[first], points[last]], points[number][0]));
      if (error > worst) [worst, place] = [error, number];
    }
    if (place > 0) {
      kept.add(place);
      ahead.push([first, place], [place, last]);
    }
  }
  return points.filter((_, number) => kept.has(number));
}

// A stretch drawn by hand takes the place of what was there between its ends.
export function redrawn(curve, drawn, length) {
  const byTime = new Map();
  for (const [seconds, level] of drawn) {
    const given = point(seconds, level, length);
    byTime.set(given[0], given);
  }
  const sorted = [...byTime.values()].sort((a, b) => a[0] - b[0]);
  const fresh = simplified(sorted);
  const [from, to] = [fresh[0][0], fresh.at(-1)[0]];
  const old = curve ?? [];
  return [...old.filter((one) => one[0] < from), ...fresh, ...old.filter((one) => one[0] > to)];
}
