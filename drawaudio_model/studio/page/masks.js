// A mask: shapes in fractions of the picture, in keyframes at the model's 4 frames a second. A keyframe holds until the next,
// or, where it is linear, its shapes move in straight lines to those of the next, as studio/drawing.py moves them.

export const MASK_FPS = 4;

export const maskFrame = (seconds, frames) => Math.min(Math.max(Math.floor(seconds * MASK_FPS + 1e-6), 0), frames - 1);

const inOrder = (keyframes) => [...keyframes].sort((a, b) => a.frame - b.frame);

function around(mask, frame) {
  const sorted = inOrder(mask.keyframes);
  const place = Math.max(sorted.filter((one) => one.frame <= frame).length - 1, 0);
  return [sorted[place], sorted[place + 1]];
}

export const keyframeAt = (mask, frame) => around(mask, frame)[0];

// Whether the shapes of this frame lie between two keyframes.
export function isBetween(mask, frame) {
  const [here, after] = around(mask, frame);
  return Boolean(here.linear && after && frame > here.frame);
}

const mix = (from, to, share) => from + (to - from) * share;

function between(shape, goal, share) {
  if (!goal || shape.kind !== goal.kind || shape.cut !== goal.cut || shape.points.length !== goal.points.length) return shape;
  const points = shape.points.map((point, number) => point.map((value, axis) => mix(value, goal.points[number][axis], share)));
  return { ...shape, points, size: mix(shape.size, goal.size, share) };
}

let last = {}; // the shapes that were asked for last: who compares them finds the same ones again
export function shapesAt(mask, frame) {
  if (!isBetween(mask, frame)) return keyframeAt(mask, frame).shapes;
  if (last.mask !== mask || last.frame !== frame) {
    const [here, after] = around(mask, frame);
    const share = (frame - here.frame) / (after.frame - here.frame);
    last = { mask, frame, shapes: here.shapes.map((shape, number) => between(shape, after.shapes[number], share)) };
  }
  return last.shapes;
}

export function withShapes(mask, frame, shapes) {
  if (!mask) return { invert: false, keyframes: [{ frame: 0, shapes }] };
  const there = keyframeAt(mask, frame);
  // What is changed on its way becomes a keyframe.
  if (isBetween(mask, frame)) return { ...mask, keyframes: inOrder([...mask.keyframes, { frame, shapes, linear: true }]) };
  return { ...mask, keyframes: mask.keyframes.map((one) => (one === there ? { ...one, shapes } : one)) };
}

export function withKeyframe(mask, frame) {
  if (mask.keyframes.some((one) => one.frame === frame)) return mask;
  // What is shown backwards from the first keyframe stays there when one is set before it.
  const made = { frame, shapes: shapesAt(mask, frame) };
  if (keyframeAt(mask, frame).linear) made.linear = true;
  return { ...mask, keyframes: inOrder([...mask.keyframes, made]) };
}

export function movedKeyframe(mask, from, to) {
  if (from === to || mask.keyframes.some((one) => one.frame === to)) return mask;
  return { ...mask, keyframes: inOrder(mask.keyframes.map((one) => (one.frame === from ? { ...one, frame: to } : one))) };
}

export function withoutKeyframe(mask, frame) {
  const keyframes = mask.keyframes.filter((one) => one.frame !== frame);
  return keyframes.length ? { ...mask, keyframes } : null;
}

export function withLinear(mask, keyframe, linear) {
  const { linear: _, ...held } = keyframe;
  return { ...mask, keyframes: mask.keyframes.map((one) => (one === keyframe ? (linear ? { ...held, linear } : held) : one)) };
}

// Keyframes that were found for a stretch take the place of those that were there.
export function withFollowed(mask, keyframes, to) {
  const rest = mask.keyframes.filter((one) => one.frame < keyframes[0].frame || one.frame > to);
  return { ...mask, keyframes: inOrder([...rest, ...keyframes]) };
}

const digits = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1e4) / 1e4;
export const place = (x, y) => [digits(x), digits(y)];

// A hand's stroke has a point for each pixel; one in a thousand of the picture is enough.
export function thinned(points, least = 0.002) {
  const kept = [points[0]];
  for (const one of points.slice(1)) {
    const last = kept.at(-1);
    if (Math.hypot(one[0] - last[0], one[1] - last[1]) >= least) kept.push(one);
  }
  return kept;
}

export function moveShape(shape, dx, dy) {
  const xs = shape.points.map((one) => one[0]);
  const ys = shape.points.map((one) => one[1]);
  const x = Math.min(Math.max(dx, -Math.min(...xs)), 1 - Math.max(...xs));
  const y = Math.min(Math.max(dy, -Math.min(...ys)), 1 - Math.max(...ys));
  return { ...shape, points: shape.points.map((one) => place(one[0] + x, one[1] + y)) };
}

// What a key makes in the middle of the picture with a tool; it is brought into its form by its points.
export function newShape(tool, cut, size) {
  const points = { lasso: [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]], brush: [[0.5, 0.5]], erase: [[0.5, 0.5]] }[tool];
  if (!points) return { kind: 'box', cut, points: [[0.35, 0.35], [0.65, 0.65]], size: 0 };
  const kind = tool === 'erase' ? 'brush' : tool;
  return { kind, cut: cut || tool === 'erase', points, size: kind === 'brush' ? size : 0 };
}

// A lasso is bent by its points, which are as few as show its form.
export const withPoint = (shape, number, at) => ({ ...shape, points: shape.points.map((one, place) => (place === number ? at : one)) });
const FEWEST = { lasso: 3, brush: 1 };
export const withoutPoint = (shape, number) => (shape.points.length > FEWEST[shape.kind] ? { ...shape, points: shape.points.filter((_, place) => place !== number) } : shape);

// With a point more behind one: half of the way to the next, or, where a stroke ends, a little further on.
export function withPointBehind(shape, number) {
  const [x, y] = shape.points[number];
  const ends = shape.kind === 'brush' && number === shape.points.length - 1;
  const [nextX, nextY] = ends ? [x < 0.9 ? x + 0.1 : x - 0.1, y] : shape.points[(number + 1) % shape.points.length];
  const made = ends ? place(nextX, nextY) : place((x + nextX) / 2, (y + nextY) / 2);
  return { ...shape, points: shape.points.toSpliced(number + 1, 0, made) };
}

// With a point more, on the side of the lasso that is nearest to it; and the number of that point.
export function withPointAt(shape, at, ratio) {
  const gaps = shape.points.map((one, number) => gap(at, one, shape.points[(number + 1) % shape.points.length], ratio));
  const number = gaps.indexOf(Math.min(...gaps)) + 1;
  return [{ ...shape, points: shape.points.toSpliced(number, 0, at) }, number];
}

// How far a point is from a line between two others, in heights of the picture, which is `ratio` times as wide.
function gap([x, y], [x0, y0], [x1, y1], ratio) {
  const [dx, dy, px, py] = [(x1 - x0) * ratio, y1 - y0, (x - x0) * ratio, y - y0];
  const share = Math.min(Math.max((px * dx + py * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(px - share * dx, py - share * dy);
}

// The fewest of an outline's points (by halving) from whose lines no other one is further away than this.
export function outlined(points, ratio, tolerance = 0.004) {
  if (points.length < 4) return points;
  let [worst, place] = [tolerance, 0];
  for (let number = 1; number < points.length - 1; number += 1) {
    const away = gap(points[number], points[0], points.at(-1), ratio);
    if (away > worst) [worst, place] = [away, number];
  }
  if (!place) return [points[0], points.at(-1)];
  return [...outlined(points.slice(0, place + 1), ratio, tolerance).slice(0, -1), ...outlined(points.slice(place), ratio, tolerance)];
}

export function trace(context, shape, width, height) {
  const points = shape.points.map(([x, y]) => [x * width, y * height]);
  context.beginPath();
  if (shape.kind === 'box') {
    const [[x0, y0], [x1, y1]] = points;
    context.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    return;
  }
  points.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (shape.kind === 'lasso') context.closePath();
  else if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
}

// Paints what sounds in opaque white.
export function paint(context, shapes, invert, width, height) {
  context.save();
  context.globalCompositeOperation = 'source-over';
  context.clearRect(0, 0, width, height);
  context.lineCap = context.lineJoin = 'round';
  context.fillStyle = context.strokeStyle = '#fff';
  for (const shape of shapes) {
    context.globalCompositeOperation = shape.cut ? 'destination-out' : 'source-over';
    trace(context, shape, width, height);
    if (shape.kind === 'brush') {
      context.lineWidth = Math.max(shape.size * height, 1);
      context.stroke();
    } else {
      context.fill();
    }
  }
  if (invert) {
    context.globalCompositeOperation = 'xor';
    context.fillRect(0, 0, width, height);
  }
  context.restore();
}

// The points of a lasso or a stroke as numbers that one types: "0.2 0.3, 0.6 0.3"; null where they are none.
export const pointsText = (shape) => shape.points.map(([x, y]) => `${+x.toFixed(3)} ${+y.toFixed(3)}`).join(', ');
export function readPoints(text, kind) {
  const points = text.split(',').map((pair) => pair.trim().split(/\s+/).map((field) => Number(field || NaN)));
  const fine = points.length >= FEWEST[kind] && points.every((pair) => pair.length === 2 && pair.every((value) => value >= 0 && value <= 1));
  return fine ? points.map(([x, y]) => place(x, y)) : null;
}

export const words = { box: 'Box', lasso: 'Lasso', brush: 'Brush' };
