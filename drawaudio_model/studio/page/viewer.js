// The picture with the mask of the chosen track over it, and the tools that draw the mask.

import { Problem, ask, sendJson } from './api.js';
import * as masks from './masks.js';
import { changeTrack, chosenTrack, on, save, state, tell } from './store.js';
import { frameAt, middleOf } from './timecode.js';
import { frame, playing, seconds } from './transport.js';

const stage = document.getElementById('stage');
const video = document.getElementById('video');
const overlay = document.getElementById('overlay');
const still = document.getElementById('still'); // shows the frames that the model sees
const strip = document.getElementById('keyframes');
const context = overlay.getContext('2d');
const painted = document.createElement('canvas');
const size = document.getElementById('brush-size');
let tool = 'box';
let drawn = null; // the shape under the hand
let selected = -1;
let bent = -1; // chosen point of the selected lasso or stroke
let drag = null;
let asModel = false;
let modelPicture = null; // { mark, unseen }
let drawnMark = null;

export const selectedShape = () => selected;
const frames = () => state.media.model_frames ?? 1;
const now = () => masks.maskFrame(seconds(), frames());
const shapes = () => {
  const mask = chosenTrack()?.mask;
  return mask ? masks.shapesAt(mask, now()) : [];
};

export function setShapes(list, key = null) {
  const track = chosenTrack();
  if (track) changeTrack(track.id, { mask: masks.withShapes(track.mask, now(), list) }, key);
}

export function select(number) {
  if (number !== selected) bent = -1;
  selected = number;
  tell('shape');
  draw(true);
}

export function choose(name) {
  tool = name;
  for (const button of document.querySelectorAll('[data-tool]')) {
    button.setAttribute('aria-pressed', String(button.dataset.tool === name));
  }
  stage.dataset.cursor = name;
  if (name !== 'select') select(-1);
}

// The picture lies in the middle of the stage, as large as it fits.
function layOut() {
  const [width, height] = state.media.size ?? [16, 9];
  const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  for (const part of [video, overlay]) {
    part.style.width = `${w}px`;
    part.style.height = `${h}px`;
    part.style.left = `${Math.round((stage.clientWidth - w) / 2)}px`;
    part.style.top = `${Math.round((stage.clientHeight - h) / 2)}px`;
  }
  const ratio = Math.min(window.devicePixelRatio, 2);
  overlay.width = painted.width = Math.max(Math.round(w * ratio), 1);
  overlay.height = painted.height = Math.max(Math.round(h * ratio), 1);
  draw(true);
}

export function draw(force = false) {
  const track = chosenTrack();
  const list = shapes();
  const mark = [track?.id, list, track?.mask?.invert, drawn, selected, bent, asModel ? now() : -1];
  if (!force && drawnMark && mark.every((value, number) => value === drawnMark[number])) return;
  drawnMark = mark;
  const [width, height] = [overlay.width, overlay.height];
  context.clearRect(0, 0, width, height);
  const all = drawn ? [...list, drawn] : list;
  if (!track || (!track.mask && !drawn)) return;
  if (asModel) {
    drawAsModel(track.mask, width, height);
    return;
  }
  const brush = painted.getContext('2d');
  masks.paint(brush, all, track.mask?.invert ?? false, width, height);
  context.fillStyle = 'rgba(4, 8, 16, 0.62)';
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = 'destination-out';
  context.drawImage(painted, 0, 0);
  context.globalCompositeOperation = 'source-over';
  outline(all, width, height);
}

function outline(list, width, height) {
  const ratio = Math.min(window.devicePixelRatio, 2);
  list.forEach((shape, number) => {
    if (shape.kind === 'brush' && number !== selected) return;
    masks.trace(context, shape, width, height);
    context.setLineDash(shape.cut ? [3 * ratio, 4 * ratio] : []);
    // Dark under light: seen on any picture.
    context.lineWidth = (number === selected ? 5 : 3) * ratio;
    context.strokeStyle = 'rgba(0, 0, 0, 0.7)';
    context.stroke();
    context.lineWidth = (number === selected ? 2.5 : 1.5) * ratio;
    context.strokeStyle = number === selected ? '#ffd166' : '#fff';
    context.stroke();
    context.setLineDash([]);
    if (number !== selected) return;
    (shape.kind === 'brush' ? shape.points : handles(shape)).forEach(([x, y], place) => {
      if (shape.kind === 'brush' && place !== bent) return; // a hand's stroke has hundreds
      const half = (shape.kind === 'box' || place === bent ? 5 : 3) * ratio;
      context.fillStyle = place === bent ? '#fff' : '#ffd166';
      context.fillRect(x * width - half, y * height - half, 2 * half, 2 * half);
      context.lineWidth = ratio;
      context.strokeStyle = 'rgba(0, 0, 0, 0.7)';
      context.strokeRect(x * width - half, y * height - half, 2 * half, 2 * half);
    });
  });
}

// What of a shape is taken hold of: the corners of a box, the points of a lasso.
const handles = (shape) => ({ box: corners, lasso: ({ points }) => points }[shape.kind]?.(shape) ?? []);
const corners = ({ points: [[x0, y0], [x1, y1]] }) => [[x0, y0], [x1, y0], [x0, y1], [x1, y1]];

// The server's own picture of the mask, in the model's pixels: black is what the model does not see.
async function drawAsModel(mask, width, height) {
  const number = now();
  const mark = JSON.stringify([mask, number]);
  if (modelPicture?.mark !== mark) {
    modelPicture = { mark, unseen: null };
    try {
      const answer = await ask('POST', '/api/mask', { body: { mask, frame: number } });
      const unseen = darkened(await createImageBitmap(await answer.blob()));
      if (modelPicture.mark !== mark) return;
      modelPicture = { mark, unseen };
    } catch (problem) {
      tell('problem', problem.message);
      return;
    }
    draw(true);
    return;
  }
  if (!modelPicture.unseen) return;
  // The frame that the model sees is that of the quarter second, not the one which is shown now.
  const shown = frameAt(state.media.times, number / masks.MASK_FPS);
  if (Number(still.dataset.frame) !== shown) {
    still.dataset.frame = shown;
    still.currentTime = middleOf(state.media.times, shown, state.media.seconds);
  }
  if (still.readyState >= 2 && !still.seeking) context.drawImage(still, 0, 0, width, height);
  context.imageSmoothingEnabled = false;
  context.drawImage(modelPicture.unseen, 0, 0, width, height);
}

still.addEventListener('seeked', () => draw(true));

// Black where the mask is black, and clear where it is white.
function darkened(bitmap) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const brush = canvas.getContext('2d');
  brush.drawImage(bitmap, 0, 0);
  const pixels = brush.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let place = 0; place < pixels.data.length; place += 4) {
    pixels.data[place + 3] = 255 - pixels.data[place];
    pixels.data[place] = pixels.data[place + 1] = pixels.data[place + 2] = 0;
  }
  brush.putImageData(pixels, 0, 0);
  return canvas;
}

function placeOf(event) {
  const box = overlay.getBoundingClientRect();
  return masks.place((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
}

function hit([x, y]) {
  const [width, height] = [overlay.width, overlay.height];
  const list = shapes();
  for (let number = list.length - 1; number >= 0; number -= 1) {
    masks.trace(context, list[number], width, height);
    context.lineWidth = Math.max(list[number].size * height, 8);
    const ways = { box: ['isPointInPath'], lasso: ['isPointInPath', 'isPointInStroke'], brush: ['isPointInStroke'] }[list[number].kind];
    if (ways.some((way) => context[way](x * width, y * height))) return number;
  }
  return -1;
}

// The handle that is nearest, within reach; -1 for none.
function handleAt(shape, [x, y]) {
  const box = overlay.getBoundingClientRect();
  const away = handles(shape).map(([hx, hy]) => Math.hypot((hx - x) * box.width, (hy - y) * box.height));
  const nearest = Math.min(...away);
  return nearest < 12 ? away.indexOf(nearest) : -1;
}

const put = (shape, key = null) => setShapes(shapes().map((one, number) => (number === selected ? shape : one)), key);
const ratioOf = () => overlay.width / overlay.height;

function bend(number) {
  bent = number;
  const at = shapes()[selected]?.points[number];
  if (at) tell('say', `Point ${number + 1} of the ${masks.words[shapes()[selected].kind].toLowerCase()}: ${at[0].toFixed(3)}, ${at[1].toFixed(3)}`);
  draw(true);
}

stage.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || !chosenTrack() || state.media.state !== 'ready') return;
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  const at = placeOf(event);
  if (tool === 'select') {
    const there = shapes()[selected];
    const handle = there ? handleAt(there, at) : -1;
    if (handle < 0) select(hit(at));
    if (there?.kind === 'lasso' && selected >= 0) bend(handle);
    if (handle >= 0 && there.kind === 'lasso' && event.altKey) put(masks.withoutPoint(there, handle));
    else if (selected >= 0) drag = { at, handle, shape: shapes()[selected] };
    return;
  }
  const kind = tool === 'erase' ? 'brush' : tool;
  const cut = tool === 'erase' || event.altKey;
  const points = kind === 'box' ? [at, at] : [at];
  drawn = { kind, cut, points, size: kind === 'brush' ? Number(size.value) / 100 : 0 };
  draw();
});

stage.addEventListener('pointermove', (event) => {
  const at = placeOf(event);
  if (drag) {
    const { shape, handle } = drag;
    if (handle < 0) put(masks.moveShape(shape, at[0] - drag.at[0], at[1] - drag.at[1]), `shape ${selected}`);
    else put(shape.kind === 'box' ? { ...shape, points: [corners(shape)[3 - handle], at] } : masks.withPoint(shape, handle, at), `shape ${selected} ${handle}`);
  } else if (drawn) {
    const more = event.getCoalescedEvents?.().map(placeOf) ?? [];
    if (drawn.kind === 'box') drawn = { ...drawn, points: [drawn.points[0], at] };
    else drawn = { ...drawn, points: [...drawn.points, ...(more.length ? more : [at])] };
    draw();
  }
});

stage.addEventListener('pointerup', () => {
  drag = null;
  if (!drawn) return;
  const thin = { box: (points) => points, lasso: (points) => masks.outlined(masks.thinned(points), ratioOf()), brush: masks.thinned };
  const shape = { ...drawn, points: thin[drawn.kind](drawn.points) };
  drawn = null;
  const [from, to] = shape.points;
  const tiny = shape.kind === 'box' && (Math.abs(from[0] - to[0]) < 0.004 || Math.abs(from[1] - to[1]) < 0.004);
  if (!tiny && (shape.kind !== 'lasso' || shape.points.length > 2)) setShapes([...shapes(), shape]);
  else draw(true);
});

stage.addEventListener('pointercancel', () => {
  drag = drawn = null;
  draw(true);
});

// A double click on a lasso's line makes a point there.
stage.addEventListener('dblclick', (event) => {
  const shape = shapes()[selected];
  if (tool !== 'select' || shape?.kind !== 'lasso' || handleAt(shape, placeOf(event)) >= 0) return;
  const [more, number] = masks.withPointAt(shape, placeOf(event), ratioOf());
  put(more);
  bend(number);
});

// Points of a lasso or a stroke by key: Ctrl+. and Ctrl+, choose one, arrows move it, A adds one behind it, Delete takes it away.
function bendKeys(event, shape) {
  const count = shape.points.length;
  const [x, y] = shape.points[bent] ?? [];
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.ctrlKey && (event.key === '.' || event.key === ',')) bend((bent + (event.key === '.' ? 1 : count - 1) + (bent < 0 && event.key === ',' ? 1 : 0)) % count);
  else if (bent < 0) return false;
  else if (arrows[event.key]) {
    const [dx, dy] = arrows[event.key].map((value) => value * (event.shiftKey ? 0.05 : 0.005));
    put(masks.withPoint(shape, bent, masks.place(x + dx, y + dy)), `shape ${selected} ${bent}`);
    bend(bent);
  } else if (event.key === 'a') {
    put(masks.withPointBehind(shape, bent));
    bend(bent + 1);
  } else if (event.key === 'Delete' || event.key === 'Backspace') {
    put(masks.withoutPoint(shape, bent));
    bend(Math.min(bent, shapes()[selected].points.length - 1));
  } else if (event.key === 'Escape') bend(-1);
  else return false;
  return true;
}

// With the keyboard: N makes a shape of the tool, . chooses one, arrows move it, with Ctrl its far corner; Delete takes it away.
stage.addEventListener('keydown', (event) => {
  const list = shapes();
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (list[selected] && list[selected].kind !== 'box' && bendKeys(event, list[selected])) {
    // done
  } else if (event.key === 'n' && chosenTrack()) {
    const made = masks.newShape(tool, event.altKey, Number(size.value) / 100);
    setShapes([...list, made]);
    choose('select');
    select(list.length);
    if (made.kind !== 'box') bend(made.points.length - 1);
  } else if (event.key === '.' && list.length) {
    choose('select');
    select((selected + 1) % list.length);
  } else if (selected >= 0 && event.key === 'Escape') {
    select(-1);
  } else if (selected >= 0 && list[selected] && (event.key === 'Delete' || event.key === 'Backspace')) {
    const rest = list.filter((_, number) => number !== selected);
    select(-1);
    setShapes(rest);
  } else if (selected >= 0 && list[selected] && arrows[event.key]) {
    const [dx, dy] = arrows[event.key].map((value) => value * (event.shiftKey ? 0.05 : 0.005));
    const shape = list[selected];
    const next = event.ctrlKey && shape.kind === 'box'
      ? { ...shape, points: [shape.points[0], masks.place(shape.points[1][0] + dx, shape.points[1][1] + dy)] }
      : masks.moveShape(shape, dx, dy);
    setShapes(list.map((one, number) => (number === selected ? next : one)), `shape ${selected}`);
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
});

export function addKeyframe() {
  const track = chosenTrack();
  if (!track) return;
  const mask = track.mask ? masks.withKeyframe(track.mask, now()) : { invert: false, keyframes: [{ frame: now(), shapes: [] }] };
  if (mask !== track.mask) changeTrack(track.id, { mask });
}

// The strip shows the stretch of time that the timeline shows.
let view = null;
function stretch() {
  const whole = !view || view.span >= state.media.seconds - 1e-6;
  return whole ? [0, Math.max(frames() - 1, 1)] : [view.start * masks.MASK_FPS, Math.max(view.span * masks.MASK_FPS - 1, 1)];
}
const onStrip = (number) => {
  const [first, length] = stretch();
  return (number - first) / length;
};
const percent = (share) => `${100 * share}%`;
const bounded = (value, low = 0, high = 1) => Math.min(Math.max(value, low), high);

function placeNow() {
  const line = strip.querySelector('.now');
  if (!line) return;
  const share = onStrip(now());
  line.hidden = share < 0 || share > 1;
  line.style.left = percent(share);
}

let held = null; // the frame of the keyframe that has the focus, which stays there
function drawKeyframes() {
  const track = chosenTrack();
  held ??= strip.contains(document.activeElement) ? document.activeElement.dataset.frame : null;
  strip.replaceChildren();
  const line = document.createElement('span');
  line.className = 'now';
  strip.append(line);
  placeNow();
  for (const keyframe of track?.mask?.keyframes ?? []) {
    const share = onStrip(keyframe.frame);
    if (keyframe.linear) drawWay(track.mask, keyframe, share);
    if (share < -1e-6 || share > 1 + 1e-6) continue;
    const button = document.createElement('button');
    button.className = 'keyframe';
    button.dataset.frame = keyframe.frame;
    button.style.left = percent(share);
    const when = `${(keyframe.frame / masks.MASK_FPS).toFixed(2)} s`;
    button.title = `Keyframe at ${when}: drag or ←/→ to move, L for held or linear, Delete to remove`;
    button.setAttribute('aria-label', `Keyframe at ${when}, ${keyframe.shapes.length} shapes`);
    button.addEventListener('pointerdown', (event) => dragKeyframe(event, button, keyframe.frame));
    button.addEventListener('keydown', (event) => {
      const to = { ArrowLeft: keyframe.frame - 1, ArrowRight: keyframe.frame + 1 }[event.key];
      let mask = track.mask;
      if (event.key === 'l') mask = masks.withLinear(mask, keyframe, !keyframe.linear);
      else if (to !== undefined) mask = to >= 0 && to < frames() ? masks.movedKeyframe(mask, keyframe.frame, to) : mask;
      else if (event.key === 'Delete' || event.key === 'Backspace') mask = masks.withoutKeyframe(mask, keyframe.frame);
      else return;
      event.preventDefault();
      event.stopPropagation();
      if (mask === track.mask) return;
      held = String(to ?? keyframe.frame);
      changeTrack(track.id, { mask });
    });
    if (keyframe.linear) {
      button.classList.add('linear');
      button.setAttribute('aria-label', `Keyframe at ${when}, ${keyframe.shapes.length} shapes, moving to the next`);
    }
    strip.append(button);
  }
  if (held) strip.querySelector(`.keyframe[data-frame="${held}"]`)?.focus();
  held = null;
}

function drawWay(mask, keyframe, share) {
  const next = mask.keyframes.map((one) => one.frame).filter((one) => one > keyframe.frame);
  if (!next.length) return;
  const [from, to] = [bounded(share), bounded(onStrip(Math.min(...next)))];
  const way = document.createElement('span');
  way.className = 'way';
  way.style.left = percent(from);
  way.style.width = percent(to - from);
  strip.append(way);
}

// Held or linear: the keyframe of which the shapes are that are shown.
export function toggleLinear() {
  const mask = chosenTrack()?.mask;
  if (!mask) return;
  const keyframe = masks.keyframeAt(mask, now());
  changeTrack(state.track, { mask: masks.withLinear(mask, keyframe, !keyframe.linear) });
}

// The shapes that are shown follow what is under them: to the end of the section where this is in it, else of the video.
export async function follow() {
  const track = chosenTrack();
  if (!track?.mask) return;
  const range = state.document.section;
  const until = range && seconds() >= range[0] && seconds() < range[1] ? range[1] : state.media.seconds;
  try {
    await save();
    await sendJson('POST', '/api/jobs', { track: track.id, do: 'follow', frame: now(), until });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    tell('problem', problem.message);
  }
}

function dragKeyframe(event, button, from) {
  const track = chosenTrack();
  const box = strip.getBoundingClientRect();
  const [first, length] = stretch();
  const at = (moved) => bounded(Math.round(first + bounded((moved.clientX - box.left) / box.width) * length), 0, frames() - 1);
  const move = (moved) => { button.style.left = percent(onStrip(at(moved))); };
  const end = (moved) => {
    removeEventListener('pointermove', move);
    const mask = masks.movedKeyframe(track.mask, from, at(moved));
    if (mask !== track.mask) changeTrack(track.id, { mask });
    else drawKeyframes();
  };
  addEventListener('pointermove', move);
  addEventListener('pointerup', end, { once: true });
}

for (const button of document.querySelectorAll('[data-tool]')) button.addEventListener('click', () => choose(button.dataset.tool));
document.getElementById('add-keyframe').addEventListener('click', addKeyframe);
document.getElementById('linear').addEventListener('click', toggleLinear);
document.getElementById('follow').addEventListener('click', follow);
document.getElementById('clear-mask').addEventListener('click', () => {
  select(-1);
  if (chosenTrack()?.mask) changeTrack(state.track, { mask: null });
});
document.getElementById('invert').addEventListener('click', () => {
  const mask = chosenTrack()?.mask;
  if (mask) changeTrack(state.track, { mask: { ...mask, invert: !mask.invert } });
});
document.getElementById('as-model').addEventListener('click', (event) => {
  asModel = !asModel;
  event.currentTarget.setAttribute('aria-pressed', String(asModel));
  draw(true);
});

export function grow(steps) {
  size.value = Number(size.value) + steps;
}

let refreshed = [];
function refresh() {
  const mask = chosenTrack()?.mask;
  const mark = [state.track, mask, frames()];
  if (mark.every((value, number) => value === refreshed[number])) return;
  refreshed = mark;
  if (selected >= shapes().length) selected = -1;
  if (bent >= (shapes()[selected]?.points.length ?? 0)) bent = -1;
  document.getElementById('invert').setAttribute('aria-pressed', String(mask?.invert ?? false));
  for (const id of ['invert', 'clear-mask', 'as-model', 'linear', 'follow']) document.getElementById(id).disabled = !mask;
  showLinear();
  drawKeyframes();
  draw(true);
}

function showLinear() {
  const mask = chosenTrack()?.mask;
  document.getElementById('linear').setAttribute('aria-pressed', String(Boolean(mask && masks.keyframeAt(mask, now()).linear)));
}

let shownFrame = -1;
on('document', refresh);
on('chosen', () => {
  selected = bent = -1;
  refresh();
});
on('moved', () => {
  if (now() !== shownFrame) {
    shownFrame = now();
    placeNow();
    showLinear();
    if (!playing()) tell('shape');
  }
  draw();
});
on('media', layOut);
on('view', (shown) => {
  view = shown;
  if (state.document) drawKeyframes();
});
new ResizeObserver(layOut).observe(stage);
choose('box');
