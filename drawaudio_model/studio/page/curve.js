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

// The part of a curve between two times, with a point at each of them.
export function part(curve, [from, to]) {
  const inside = curve.filter(([time]) => time > from && time < to);
  return [[from, levelAt(curve, from)], ...inside, [to, levelAt(curve, to - 1e-7)]];
}

export const wholeRange = (curve) => [curve[0][0], Math.max(curve.at(-1)[0], curve[0][0] + 1e-3)];

// The curve with other points between two times; outside it stays as it is, up to the very ends.
export function replaced(curve, [from, to], points, length) {
  const edges = curve ? [[from, levelAt(curve, from - 1e-7)], [to, levelAt(curve, to)]] : [];
  const before = curve && from > curve[0][0] ? [...curve.filter(([time]) => time < from), edges[0]] : [];
  const after = curve && to < curve.at(-1)[0] ? [edges[1], ...curve.filter(([time]) => time > to)] : [];
  const fresh = points.filter(([time]) => time >= 0 && time <= length).map(([time, level]) => point(time, level, length));
  const all = [...before, ...fresh, ...after];
  return all.filter(([time, level], number) => {
    const [left, right] = [all[number - 1], all[number + 1]];
    if (left && left[0] === time && left[1] === level) return false;
    return !(left && right && left[0] === time && right[0] === time); // of three at one time the middle one says nothing
  });
}

// Louder, with more contrast, later, or longer: a range of a curve, or all of it; returns the curve and where the range is now.
// Contrast keeps the loudest level; what is silent stays so.
export function changed(curve, range, { louder = 0, contrast = 1, later = 0, longer = 1 }, length) {
  const [from, to] = range ?? wholeRange(curve);
  const old = range ? part(curve, range) : curve;
  const top = Math.max(...old.map((one) => one[1]));
  const level = (was) => (was <= SILENCE ? was : Math.max(top - (top - was) * contrast + louder, SILENCE));
  const time = (was) => from + (was - from) * longer + later;
  const made = old.map((one) => [time(one[0]), level(one[1])]);
  const now = [Math.max(time(from), 0), Math.min(time(to), length)];
  if (now[1] <= now[0]) return [curve, range];
  const inside = part(made, now);
  if (!range) return [(made.every(([at]) => at >= 0 && at <= length) ? made : inside).map((one) => point(...one, length)).filter(once), null];
  // Where the range has left, the level at its old ends stays.
  const union = [Math.min(from, now[0]), Math.max(to, now[1])];
  const left = now[0] > from ? [[from, old[0][1]]] : [];
  const right = now[1] < to ? [[to, old.at(-1)[1]]] : [];
  return [replaced(curve, union, [...left, ...inside, ...right], length), now.map((end) => rounded(end, 4))];
}

const once = (one, number, all) => !number || one[0] !== all[number - 1][0] || one[1] !== all[number - 1][1];

// As a table of a spreadsheet has it, there and back; null for anything else.
export const toTable = (points) => `time_seconds\tlevel_db\n${points.map(([time, level]) => `${rounded(time, 4)}\t${rounded(level, 2)}`).join('\n')}\n`;
export function fromTable(text) {
  const rows = text.trim().split(/\r?\n/).map((line) => line.split(/[\t;]|,\s*/).map((field) => Number(field.trim() || NaN)));
  const points = rows.slice(Number.isNaN(rows[0][0]) ? 1 : 0);
  const fine = points.length && points.every((row, number) => row.length === 2 && row.every(Number.isFinite) && row[1] <= TOP
    && (!number || row[0] >= points[number - 1][0]));
  return fine ? points : null;
}
