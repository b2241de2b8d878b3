// A mask: shapes in fractions of the picture, in keyframes at the model's 4 frames a second that hold until the next.

export const MASK_FPS = 4;

export const maskFrame = (seconds, frames) => Math.min(Math.max(Math.floor(seconds * MASK_FPS + 1e-6), 0), frames - 1);

export function keyframeAt(mask, frame) {
  const sorted = [...mask.keyframes].sort((a, b) => a.frame - b.frame);
  return sorted.filter((one) => one.frame <= frame).at(-1) ?? sorted[0];
}

export function withShapes(mask, frame, shapes) {
  if (!mask) return { invert: false, keyframes: [{ frame: 0, shapes }] };
  const there = keyframeAt(mask, frame);
  return { ...mask, keyframes: mask.keyframes.map((one) => (one === there ? { ...one, shapes } : one)) };
}

export function withKeyframe(mask, frame) {
  if (mask.keyframes.some((one) => one.frame === frame)) return mask;
  // What is shown backwards from the first keyframe stays there when one is set before it.
  const keyframes = [...mask.keyframes, { frame, shapes: keyframeAt(mask, frame).shapes }];
  return { ...mask, keyframes: keyframes.sort((a, b) => a.frame - b.frame) };
}

export function movedKeyframe(mask, from, to) {
  if (from === to || mask.keyframes.some((one) => one.frame === to)) return mask;
  const keyframes = mask.keyframes.map((one) => (one.frame === from ? { ...one, frame: to } : one));
  return { ...mask, keyframes: keyframes.sort((a, b) => a.frame - b.frame) };
}

export function withoutKeyframe(mask, frame) {
  const keyframes = mask.keyframes.filter((one) => one.frame !== frame);
  return keyframes.length ? { ...mask, keyframes } : null;
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

export const words = { box: 'Box', lasso: 'Lasso', brush: 'Brush' };
