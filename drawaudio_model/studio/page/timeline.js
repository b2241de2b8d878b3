// The timeline: zoom, film strip, original sound, and a lane for each track with its curve under the hand.

import * as curves from './curve.js';
import * as tools from './curvetools.js';
import * as lanes from './lanes.js';
import { markersHand } from './markers.js';
import { rulerHand, section } from './section.js';
import { change, changeTrack, choose, chosenTrack, on, removeTrack, state, tell } from './store.js';
import { frameAt } from './timecode.js';
import { frame, playing, refreshMix, seconds, seek } from './transport.js';

const timeline = document.getElementById('timeline');
const rows = document.getElementById('rows');
const ruler = document.getElementById('ruler');
const playhead = document.getElementById('playhead');
let queued = false; // a frame in which it is drawn
const view = { start: 0, span: 8 };
const sounds = new Map(); // take id -> { mel, peaks, seconds }
const row = new Map(); // track id -> parts of its row
const sizes = new ResizeObserver((changed) => {
  for (const { target, contentRect } of changed) lanes.sized(target, contentRect.width, contentRect.height);
  draw();
});
sizes.observe(ruler);
let tint = lanes.colours();
let strip = null;
let originalSound = null;
let stripRow = null;
let originalRow = null;
let point = -1; // chosen point of the chosen track's curve
let stroke = null;
let pencil = false;
const LEAST_FRAMES = 10;

export const soundOf = (take) => sounds.get(take);
export const metersOf = () => [...row].map(([id, parts]) => [id, parts.meter]);
export const chosenPoint = () => point;
export const isPencil = () => pencil;
export function setPencil(value) {
  pencil = value;
  tell('pencil');
  draw();
}

const ready = () => state.media.state === 'ready';
const laneWidth = () => lanes.sizeOf(ruler)[0];
const laneHeight = (lane) => lanes.sizeOf(lane)[1];
const timeAt = (canvas, event) => view.start + ((event.clientX - canvas.getBoundingClientRect().left) / laneWidth()) * view.span;

export function zoom(factor, around = seconds()) {
  if (!ready()) return;
  const least = (LEAST_FRAMES * state.media.rate.denominator) / state.media.rate.numerator;
  const span = Math.min(Math.max(view.span * factor, least), state.media.seconds);
  const share = (around - view.start) / view.span;
  show(around - Math.min(Math.max(share, 0), 1) * span, span);
}

export function show(start, span) {
  view.span = span;
  view.start = Math.min(Math.max(start, 0), Math.max(state.media.seconds - span, 0));
  tell('view', view);
  draw();
  placeHead();
}

export const showAll = () => ready() && show(0, state.media.seconds);

export function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    drawNow();
  });
}

// A canvas is drawn again when something has changed that is seen in it.
const drawn = new WeakMap();
function isNew(canvas, ...parts) {
  const mark = [view.start, view.span, ...lanes.sizeOf(canvas), lanes.pixelRatio(), tint, state.media, ...parts];
  if (lanes.same(mark, drawn.get(canvas) ?? [])) return false;
  drawn.set(canvas, mark);
  return true;
}

export function drawNow() {
  if (!ready() || !state.document) return;
  const range = section();
  if (isNew(ruler, state.document.markers, range?.[0], range?.[1])) {
    lanes.drawRuler(ruler, view, state.media, state.document.markers, tint);
    if (range) lanes.drawSection(ruler.getContext('2d'), view, range, ...lanes.sizeOf(ruler), tint, { handles: true });
  }
  if (stripRow && isNew(stripRow, strip, strip?.complete)) lanes.drawStrip(stripRow, view, state.media, strip);
  if (originalRow && isNew(originalRow, originalSound, originalSound?.mel.complete, originalSound?.peaks)) {
    const { context, width, height } = lanes.begin(originalRow);
    context.globalAlpha = 0.5;
    if (originalSound) lanes.drawMel(context, originalSound.mel, view, state.media.seconds, width, height, tint.mel);
    context.globalAlpha = 0.8;
    if (originalSound?.peaks) lanes.drawWave(context, originalSound.peaks, view, width, height, tint.wave);
  }
  for (const track of state.document.tracks) if (row.has(track.id)) drawTrack(track, range);
  if (isNew(thumb)) drawThumb();
}

function drawTrack(track, range) {
  const { lane } = row.get(track.id);
  const chosen = track.id === state.track;
  const sound = sounds.get(track.take);
  const job = jobOf(track.id);
  const anew = job?.section ?? (chosen ? range : null);
  const share = job?.section ? (job.total ? job.step / job.total : 0) : null;
  const hand = chosen ? [point, stroke, stroke?.length] : [];
  if (!isNew(lane, track.curve, track.gain_db, sound, sound?.mel.complete, sound?.peaks, chosen, anew?.[0], anew?.[1], share, ...hand)) return;
  lanes.drawLane(lane, view, track, sound, state.media, tint, { chosen, point: chosen ? point : -1, stroke: chosen ? stroke : null });
  if (anew) lanes.drawSection(lane.getContext('2d'), view, anew, ...lanes.sizeOf(lane), tint, { share });
}

export function placeHead() {
  const share = (seconds() - view.start) / view.span;
  playhead.hidden = !ready() || share < 0 || share > 1;
  playhead.style.transform = `translateX(${Math.round(ruler.offsetLeft + share * laneWidth())}px)`;
}

on('moved', () => {
  const at = seconds();
  if (playing() && (at > view.start + view.span || at < view.start)) show(at - 0.05 * view.span, view.span);
  placeHead();
});

// Rows

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function makeRow(kind, head, label) {
  const lane = element('canvas', { className: 'lane' });
  sizes.observe(lane);
  const made = element('div', { className: `row ${kind}` }, element('div', { className: 'head' }, ...head), lane);
  if (label) lane.setAttribute('aria-label', label);
  return { made, lane };
}

function toggleButton(letter, title, press) {
  const button = element('button', { textContent: letter, title, className: 'small' });
  button.setAttribute('aria-label', title);
  button.addEventListener('click', press);
  return button;
}

export function build() {
  rows.replaceChildren();
  row.clear();
  const film = makeRow('film', [element('span', { className: 'label', textContent: 'Picture' })]);
  stripRow = film.lane;
  film.lane.addEventListener('pointerdown', scrub);
  rows.append(film.made);
  originalRow = null;
  if (state.media.sound) {
    const mute = toggleButton('M', 'Mute the original sound', () => change((document) => ({
      ...document, original: { ...document.original, mute: !document.original.mute },
    })));
    const gain = element('input', { type: 'range', min: -30, max: 12, step: 0.5, title: 'Gain of the original sound' });
    gain.setAttribute('aria-label', 'Gain of the original sound in decibels');
    gain.addEventListener('input', () => change((document) => ({ ...document, original: { ...document.original, gain_db: Number(gain.value) } }), 'original gain'));
    gain.addEventListener('dblclick', () => change((document) => ({ ...document, original: { ...document.original, gain_db: 0 } })));
    const top = element('div', { className: 'line' }, element('span', { className: 'label name', textContent: 'Original sound' }), mute);
    const { made, lane } = makeRow('original', [element('div', { className: 'lines' }, top, gain)]);
    originalRow = lane;
    originalRow.mute = mute;
    originalRow.gain = gain;
    lane.addEventListener('pointerdown', scrub);
    rows.append(made);
  }
  for (const track of state.document.tracks) rows.append(trackRow(track));
  refresh();
}

function trackRow(track) {
  const id = track.id;
  const get = () => state.document.tracks.find((one) => one.id === id);
  const name = element('button', { className: 'name' });
  name.addEventListener('click', () => choose(id));
  const mute = toggleButton('M', 'Mute', () => changeTrack(id, { mute: !get().mute }));
  const solo = toggleButton('S', 'Solo', () => changeTrack(id, { solo: !get().solo }));
  const remove = toggleButton('✕', 'Remove this track', () => removeTrack(id));
  const gain = element('input', { type: 'range', min: -30, max: 12, step: 0.5, title: 'Gain' });
  gain.setAttribute('aria-label', 'Gain in decibels');
  const gainWords = element('output', { className: 'quiet' });
  gain.addEventListener('input', () => changeTrack(id, { gain_db: Number(gain.value) }, 'gain'));
  gain.addEventListener('dblclick', () => changeTrack(id, { gain_db: 0 }));
  const pan = element('input', { type: 'range', min: -100, max: 100, step: 5, title: 'Pan: where it stands between left and right; a double click is the middle' });
  pan.setAttribute('aria-label', 'Pan, left to right');
  const panWords = element('output', { className: 'quiet' });
  pan.addEventListener('input', () => changeTrack(id, { pan: Number(pan.value) / 100 }, 'pan'));
  pan.addEventListener('dblclick', () => changeTrack(id, { pan: 0 }));
  const bar = element('progress', { max: 1, hidden: true });
  bar.setAttribute('aria-label', 'Progress of this track');
  const top = element('div', { className: 'line' }, name, mute, solo, remove);
  const level = element('div', { className: 'line' }, gain, gainWords);
  const place = element('div', { className: 'line' }, pan, panWords);
  const meter = element('div', { className: 'meter' });
  for (const [key, value] of [['role', 'meter'], ['aria-label', 'Level of this track'], ['aria-valuemin', -60], ['aria-valuemax', 0], ['aria-valuenow', -60]]) {
    meter.setAttribute(key, value);
  }
  const { made, lane } = makeRow('track', [top, level, place, meter, bar], 'Loudness curve; keys: arrows, Enter, Delete, A');
  lane.tabIndex = 0;
  lane.setAttribute('role', 'application');
  lane.addEventListener('pointerdown', (event) => press(event, id, lane));
  lane.addEventListener('keydown', (event) => curveKeys(event, id));
  lane.addEventListener('focus', () => choose(id));
  lane.addEventListener('dragover', (event) => event.preventDefault());
  lane.addEventListener('drop', (event) => {
    choose(id);
    tools.ofSound(event.dataTransfer.files[0], Math.min(Math.max(snapped(timeAt(lane, event), event.altKey), 0), state.media.seconds));
  });
  row.set(id, { made, lane, name, mute, solo, gain, gainWords, pan, panWords, bar, meter });
  return made;
}

const jobOf = (id) => [...state.jobs.values()].find((one) => one.track === id && ['waiting', 'running'].includes(one.state));
const panWordsOf = (pan) => (pan === 0 ? 'middle' : `${pan < 0 ? 'left' : 'right'} ${Math.round(Math.abs(100 * pan))}`);
const nameOf = (track, number) => track.text.trim() || `Track ${number + 1}`;

function refresh() {
  if (!state.document) return;
  const ids = state.document.tracks.map((track) => track.id);
  if (ids.length !== row.size || ids.some((id) => !row.has(id)) || [...row.keys()].some((id, number) => id !== ids[number])) {
    build();
    return;
  }
  const solos = state.document.tracks.some((one) => one.solo);
  state.document.tracks.forEach((track, number) => {
    if (track.take) loadSound(track.take);
    refreshHead(row.get(track.id), track, number, solos);
  });
  if (originalRow) {
    const { mute, gain_db: gain } = state.document.original;
    originalRow.mute.setAttribute('aria-pressed', String(mute));
    if (Number(originalRow.gain.value) !== gain) originalRow.gain.value = gain;
    originalRow.gain.setAttribute('aria-valuetext', `${gain.toFixed(1)} dB`);
  }
  const curve = chosenTrack()?.curve;
  if (!curve || point >= curve.length) point = -1;
  draw();
}

function refreshHead(parts, track, number, solos) {
  const job = jobOf(track.id);
  const chosen = track.id === state.track;
  const mark = [track.text, number, chosen, track.mute, track.solo, solos, track.gain_db, track.pan, job];
  if (lanes.same(mark, parts.mark ?? [])) return;
  parts.mark = mark;
  parts.name.textContent = nameOf(track, number);
  parts.name.title = nameOf(track, number);
  parts.name.setAttribute('aria-pressed', String(chosen));
  parts.made.classList.toggle('chosen', chosen);
  parts.made.classList.toggle('silent', solos ? !track.solo : track.mute);
  parts.mute.setAttribute('aria-pressed', String(track.mute));
  parts.solo.setAttribute('aria-pressed', String(track.solo));
  if (document.activeElement !== parts.gain || Number(parts.gain.value) !== track.gain_db) parts.gain.value = track.gain_db;
  parts.gainWords.textContent = `${track.gain_db > 0 ? '+' : ''}${track.gain_db.toFixed(1)} dB`;
  if (document.activeElement !== parts.pan || Number(parts.pan.value) !== Math.round(100 * track.pan)) parts.pan.value = 100 * track.pan;
  parts.panWords.textContent = panWordsOf(track.pan);
  parts.pan.setAttribute('aria-valuetext', panWordsOf(track.pan));
  parts.bar.hidden = !job;
  if (job?.total) parts.bar.value = job.step / job.total;
  else parts.bar.removeAttribute('value');
}

async function loadSound(id) {
  if (sounds.has(id) || !state.takes.has(id)) return;
  const mel = new Image();
  mel.onload = draw;
  mel.src = `/api/takes/${id}/png`;
  const sound = { mel, peaks: null, seconds: state.takes.get(id).seconds };
  sounds.set(id, sound);
  sound.peaks = new Int8Array(await (await fetch(`/api/takes/${id}/peaks`)).arrayBuffer());
  draw();
}

// Going to a moment with the hand

function scrub(event) {
  if (event.button !== 0 || !ready()) return;
  const canvas = event.currentTarget;
  canvas.setPointerCapture(event.pointerId);
  const go = (moved) => seek(Math.min(Math.max(timeAt(canvas, moved), 0), state.media.seconds));
  go(event);
  canvas.onpointermove = go;
  canvas.onpointerup = () => { canvas.onpointermove = null; };
}
const toX = (time) => ((time - view.start) / view.span) * laneWidth();
export const nameMarker = markersHand(ruler, toX);
rulerHand(ruler, timeAt, toX, (time, fine) => snapped(time, fine, []), seek);

timeline.addEventListener('wheel', (event) => {
  if (!ready()) return;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(1.0015 ** event.deltaY, timeAt(ruler, event));
  } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    show(view.start + ((event.deltaX || event.deltaY) / laneWidth()) * view.span, view.span);
  }
}, { passive: false });

const bar = document.getElementById('scrollbar');
const thumb = document.getElementById('thumb');
function drawThumb() {
  thumb.style.left = `${(100 * view.start) / state.media.seconds}%`;
  thumb.style.width = `${(100 * view.span) / state.media.seconds}%`;
}
bar.addEventListener('pointerdown', (event) => {
  if (!ready()) return;
  bar.setPointerCapture(event.pointerId);
  const box = bar.getBoundingClientRect();
  const at = (moved) => ((moved.clientX - box.left) / box.width) * state.media.seconds;
  const offset = event.target === thumb ? at(event) - view.start : view.span / 2;
  const move = (moved) => show(at(moved) - offset, view.span);
  move(event);
  bar.onpointermove = move;
  bar.onpointerup = () => { bar.onpointermove = null; };
});

// The curve under the hand

function places(lane, curve) {
  const [width, height] = lanes.sizeOf(lane);
  return curve.map(([time, level]) => [((time - view.start) / view.span) * width, lanes.levelToY(level, height)]);
}

// Times snap to frames and markers that are near on the screen, unless Alt is held.
function snapped(time, fine, ends = section() ?? []) {
  if (fine) return time;
  const { times } = state.media;
  const near = (9 / laneWidth()) * view.span;
  for (const marker of state.document.markers) if (Math.abs(times[marker.frame] - time) < near) return times[marker.frame];
  for (const end of ends) if (Math.abs(end - time) < near) return end;
  const number = frameAt(times, Math.max(time, 0));
  const options = [times[number], times[number + 1] ?? state.media.seconds];
  return options.sort((a, b) => Math.abs(a - time) - Math.abs(b - time))[0];
}

function press(event, id, lane) {
  if (event.button !== 0 || !ready()) return;
  choose(id);
  lane.focus({ preventScroll: true });
  lane.setPointerCapture(event.pointerId);
  const box = lane.getBoundingClientRect();
  const at = (moved) => [timeAt(lane, moved), lanes.yToLevel(moved.clientY - box.top, laneHeight(lane))];
  const length = state.media.seconds;
  const curve = () => chosenTrack().curve;
  if (pencil) {
    stroke = [curves.point(...at(event), length)];
    lane.onpointermove = (moved) => {
      for (const one of moved.getCoalescedEvents?.() ?? [moved]) stroke.push(curves.point(...at(one), length));
      draw();
    };
    lane.onpointerup = lane.onpointercancel = () => {
      lane.onpointermove = lane.onpointerup = lane.onpointercancel = null;
      const made = curves.redrawn(curve(), stroke, length);
      stroke = null;
      point = -1;
      changeTrack(id, { curve: made });
    };
    draw();
    return;
  }
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const there = curve() ? places(lane, curve()) : [];
  let index = there.findIndex(([px, py]) => Math.hypot(px - x, py - y) < 9);
  const key = `drag ${performance.now()}`;
  if (index < 0) {
    const [time, level] = at(event);
    const onLine = curve() && Math.abs(lanes.levelToY(curves.levelAt(curve(), time), laneHeight(lane)) - y) < 6;
    if (onLine && event.ctrlKey) {
      dragSegment(lane, id, time, y, key);
      return;
    }
    const [made, place] = curves.added(curve(), curves.point(snapped(time, event.altKey), level, length));
    changeTrack(id, { curve: made }, key);
    index = place;
  }
  setPoint(index);
  const from = curve()[index];
  let [lastX, lastY] = [event.clientX, event.clientY];
  let [time, level] = from;
  lane.onpointermove = (moved) => {
    const pace = moved.altKey ? 0.1 : 1;
    time += ((moved.clientX - lastX) / laneWidth()) * view.span * pace;
    level -= ((moved.clientY - lastY) / (laneHeight(lane) - 12)) * (curves.TOP - curves.SILENCE) * pace;
    [lastX, lastY] = [moved.clientX, moved.clientY];
    const steep = Math.abs(moved.clientY - event.clientY) > Math.abs(moved.clientX - event.clientX);
    const [t, l] = moved.shiftKey ? (steep ? [from[0], level] : [time, from[1]]) : [time, level];
    changeTrack(id, { curve: curves.moved(curve(), index, snapped(t, moved.altKey), l, length) }, key);
  };
  lane.onpointerup = lane.onpointercancel = () => { lane.onpointermove = lane.onpointerup = lane.onpointercancel = null; };
}

// With Ctrl the line between two points goes up and down, and both points with it.
function dragSegment(lane, id, time, from, key) {
  const box = lane.getBoundingClientRect();
  const curve = chosenTrack().curve;
  const right = curve.findIndex((one) => one[0] > time);
  const ends = right < 0 ? [curve.length - 1] : [Math.max(right - 1, 0), right];
  lane.onpointermove = (moved) => {
    const raised = lanes.yToLevel(moved.clientY - box.top, laneHeight(lane)) - lanes.yToLevel(from, laneHeight(lane));
    const made = curve.map((one, number) => (ends.includes(number) ? curves.point(one[0], one[1] + raised, state.media.seconds) : one));
    changeTrack(id, { curve: made }, key);
  };
  lane.onpointerup = lane.onpointercancel = () => { lane.onpointermove = lane.onpointerup = lane.onpointercancel = null; };
}

// While R is held and the video plays, the mouse's height over the lane is the level.
let rider = null;
let pointerY = null;
addEventListener('pointermove', (event) => { pointerY = event.clientY; });

export function ride(begins) {
  const track = chosenTrack();
  if (begins && !rider && track && playing() && pointerY !== null) {
    rider = track.id;
    stroke = [];
  } else if (!begins && rider) {
    const made = stroke.length > 1 ? curves.redrawn(chosenTrack()?.curve, stroke, state.media.seconds) : null;
    if (made && state.track === rider) changeTrack(rider, { curve: made });
    rider = stroke = null;
    draw();
  }
}

on('moved', () => {
  if (!rider) return;
  if (!playing()) {
    ride(false);
    return;
  }
  const { lane } = row.get(rider);
  stroke.push(curves.point(seconds(), lanes.yToLevel(pointerY - lane.getBoundingClientRect().top, laneHeight(lane)), state.media.seconds));
  draw();
});

function setPoint(index) {
  point = index;
  const one = chosenTrack()?.curve?.[index];
  if (one) tell('say', `Point ${index + 1}: ${one[0].toFixed(2)} s, ${one[1].toFixed(1)} dB`);
  tell('point');
  draw();
}

function curveKeys(event, id) {
  if (state.media.state !== 'ready') return;
  const { curve } = chosenTrack();
  const length = state.media.seconds;
  const frameLength = state.media.rate.denominator / state.media.rate.numerator;
  const fine = event.shiftKey ? 10 : 1;
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 0.5], ArrowDown: [0, -0.5] };
  if (curve && tools.arrow(event)) {
    // done
  } else if (event.key === 'a' || event.key === 'A') {
    const at = state.media.times[frame()];
    const [made, place] = curves.added(curve, curves.point(at, curve ? curves.levelAt(curve, at) : -24, length));
    changeTrack(id, { curve: made });
    setPoint(place);
  } else if (curve && event.ctrlKey && !event.shiftKey && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
    setPoint(Math.min(Math.max(point + (event.key === 'ArrowLeft' ? -1 : 1), 0), curve.length - 1));
  } else if (curve && point >= 0 && arrows[event.key] && !event.ctrlKey) {
    const [frames, level] = arrows[event.key].map((value) => value * fine);
    changeTrack(id, { curve: curves.moved(curve, point, curve[point][0] + frames * frameLength, curve[point][1] + level, length) }, `key ${point}`);
    setPoint(point);
  } else if (curve && point >= 0 && (event.key === 'Delete' || event.key === 'Backspace')) {
    const rest = curve.filter((_, number) => number !== point);
    changeTrack(id, { curve: rest.length ? rest : null });
    setPoint(Math.min(point, rest.length - 1));
  } else if (event.key === 'Enter' && point >= 0) {
    tell('numbers', point);
  } else if (event.key === 'Escape' && point >= 0) {
    setPoint(-1);
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}

on('document', refresh);
on('chosen', () => {
  point = -1;
  refresh();
});
on('jobs', refresh);
on('takes', refresh);
on('media', async () => {
  if (!ready()) return;
  const mark = state.media.mark?.join() ?? '';
  strip = new Image();
  strip.onload = draw;
  strip.src = `/media/strip.jpg?${encodeURIComponent(mark)}`;
  if (state.media.sound) {
    const mel = new Image();
    mel.onload = draw;
    mel.src = '/media/sound.png';
    originalSound = { mel, peaks: null };
    fetch('/media/sound.peaks').then(async (answer) => {
      originalSound.peaks = new Int8Array(await answer.arrayBuffer());
      draw();
    });
  }
  build();
  showAll();
  refreshMix();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  tint = lanes.colours();
  draw();
});
new ResizeObserver(() => {
  tint = lanes.colours();
  draw();
  placeHead();
}).observe(timeline);
