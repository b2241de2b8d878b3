// What is drawn on the timeline: ruler, film strip, waveforms, log-mels and curves. Pictures alone; hands are in timeline.js.

import { SILENCE, TOP, modelLevels } from './curve.js';
import { timecode } from './timecode.js';

const PEAKS_A_SECOND = 100;

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(['ink', 'quiet', 'line', 'lane', 'wave', 'curve', 'steps', 'accent', 'marker', 'mel'].map((name) => [name, named(name)]));
}

export const levelToY = (level, height) => 6 + ((TOP - level) / (TOP - SILENCE)) * (height - 12);
export const yToLevel = (y, height) => TOP - ((y - 6) / (height - 12)) * (TOP - SILENCE);

// Sizes on the screen in CSS pixels, kept: to ask the browser in mid-change costs a layout of the whole page.
const sizes = new WeakMap();
export const sized = (canvas, width, height) => sizes.set(canvas, [width, height]);
export function sizeOf(canvas) {
  if (!sizes.has(canvas)) sized(canvas, canvas.clientWidth, canvas.clientHeight);
  return sizes.get(canvas);
}

export const pixelRatio = () => Math.min(window.devicePixelRatio, 2);

// Sets a canvas to its size; returns what to draw with, in CSS pixels.
export function begin(canvas, [width, height] = sizeOf(canvas)) {
  const ratio = pixelRatio();
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

export function drawRuler(canvas, view, media, markers, tint) {
  const { context, width, height } = begin(canvas);
  context.font = '11px system-ui, sans-serif';
  const frameWidth = (width / view.span) * (media.rate.denominator / media.rate.numerator);
  const steps = [1 / 4, 1 / 2, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
  const gap = steps.find((step) => (step / view.span) * width >= 92) ?? 1200;
  context.fillStyle = context.strokeStyle = tint.quiet;
  context.lineWidth = 1;
  if (frameWidth >= 7) {
    context.globalAlpha = 0.6;
    for (let number = 0; number < media.times.length; number += 1) {
      const x = ((media.times[number] - view.start) / view.span) * width;
      if (x >= 0 && x <= width) context.fillRect(Math.round(x), height - 5, 1, 5);
    }
    context.globalAlpha = 1;
  }
  for (let time = Math.floor(view.start / gap) * gap; time <= view.start + view.span; time += gap) {
    const x = Math.round(((time - view.start) / view.span) * width);
    context.fillRect(x, height - 10, 1, 10);
    const frame = media.times.findIndex((one) => one >= time - 1e-4);
    context.fillStyle = tint.ink;
    if (frame >= 0) context.fillText(timecode(frame, media), x + 4, height - 9);
    context.fillStyle = tint.quiet;
  }
  for (const marker of markers) {
    const x = ((media.times[marker.frame] - view.start) / view.span) * width;
    context.fillStyle = tint.marker;
    context.beginPath();
    context.moveTo(x - 5, 1);
    context.lineTo(x + 5, 1);
    context.lineTo(x, 9);
    context.fill();
    if (marker.name) context.fillText(marker.name, x + 7, 9);
  }
}

// The section: a frame around it and what is outside darkened, so that it is not told by colour alone; `share` of it is made.
export function drawSection(context, view, [from, to], width, height, tint, { handles = false, share = null } = {}) {
  const [left, right] = [from, to].map((time) => Math.round(((time - view.start) / view.span) * width));
  context.save();
  context.globalAlpha = handles ? 0.3 : 0.14;
  context.fillStyle = tint.accent;
  context.fillRect(left, 0, right - left, height);
  if (share !== null) {
    context.globalAlpha = 0.45;
    context.fillRect(left, height - 7, (right - left) * share, 7);
  }
  context.globalAlpha = 1;
  context.fillRect(left - 1, 0, 2, height);
  context.fillRect(right - 1, 0, 2, height);
  if (handles) {
    for (const [x, way] of [[left, 1], [right, -1]]) {
      context.beginPath();
      context.moveTo(x, height);
      context.lineTo(x + 9 * way, height);
      context.lineTo(x, height - 12);
      context.fill();
    }
  }
  context.restore();
}

export function drawStrip(canvas, view, media, sheet) {
  const { context, width, height } = begin(canvas);
  if (!sheet?.complete || !sheet.naturalWidth) return;
  const strip = media.strip;
  const tile = (strip.width / strip.height) * height;
  const first = Math.floor((view.start / view.span) * (width / tile));
  for (let number = first; ; number += 1) {
    const x = number * tile - (view.start / view.span) * width;
    if (x > width) break;
    const time = ((x + tile / 2) / width) * view.span + view.start;
    if ((x / width) * view.span + view.start > media.seconds) break;
    const shown = Math.min(Math.max(Math.floor(time / strip.interval), 0), strip.count - 1);
    const [column, row] = [shown % strip.columns, Math.floor(shown / strip.columns)];
    context.drawImage(sheet, column * strip.width, row * strip.height, strip.width, strip.height, x, 0, tile, height);
  }
}

export function drawWave(context, peaks, view, width, height, colour, gain = 1) {
  context.fillStyle = colour;
  const middle = height / 2;
  for (let x = 0; x < width; x += 1) {
    const from = Math.floor((view.start + (x / width) * view.span) * PEAKS_A_SECOND);
    const to = Math.max(Math.ceil((view.start + ((x + 1) / width) * view.span) * PEAKS_A_SECOND), from + 1);
    let [low, high] = [0, 0];
    for (let number = Math.max(from, 0); number < to && 2 * number + 1 < peaks.length; number += 1) {
      low = Math.min(low, peaks[2 * number]);
      high = Math.max(high, peaks[2 * number + 1]);
    }
    const [top, bottom] = [Math.min((high / 127) * gain, 1), Math.max((low / 127) * gain, -1)];
    context.fillRect(x, middle - top * middle, 1, Math.max((top - bottom) * middle, 1));
  }
}

// A log-mel as opacity, in one colour: it reads on a dark and on a light lane.
function tinted(picture, colour) {
  if (picture.tint?.colour === colour) return picture.tint.canvas;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(picture, 0, 0);
  context.globalCompositeOperation = 'source-in';
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  picture.tint = { colour, canvas };
  return canvas;
}

export function drawMel(context, picture, view, seconds, width, height, colour) {
  if (!picture?.complete || !picture.naturalWidth) return;
  const scale = picture.naturalWidth / seconds;
  context.imageSmoothingEnabled = true;
  context.drawImage(tinted(picture, colour), view.start * scale, 0, view.span * scale, picture.naturalHeight, 0, 0, width, height);
}

// What lies under a curve stays as it is while the curve is drawn: of the chosen track it is kept as a picture.
const under = { canvas: document.createElement('canvas'), mark: [] };
export const same = (one, other) => one.length === other.length && one.every((value, number) => value === other[number]);

export function drawLane(canvas, view, track, sound, media, tint, { chosen, point, stroke }) {
  const { context, width, height } = begin(canvas);
  const x = (time) => ((time - view.start) / view.span) * width;
  if (chosen) {
    const mark = [view.start, view.span, width, height, pixelRatio(), sound, sound?.mel.complete, sound?.peaks, track.gain_db, tint];
    if (!same(mark, under.mark)) {
      drawUnder(begin(under.canvas, [width, height]), view, track, sound, tint, chosen);
      under.mark = mark;
    }
    context.drawImage(under.canvas, 0, 0, width, height);
  } else {
    drawUnder({ context, width, height }, view, track, sound, tint, chosen);
  }
  const curve = track.curve;
  if (curve) {
    drawSteps(context, curve, view, media.seconds, x, width, height, tint.steps);
    drawCurve(context, curve, x, width, height, tint, { chosen, point });
  }
  if (stroke?.length) {
    context.strokeStyle = tint.accent;
    context.lineWidth = 2;
    context.beginPath();
    stroke.forEach(([time, level], number) => context[number ? 'lineTo' : 'moveTo'](x(time), levelToY(level, height)));
    context.stroke();
  }
}

function drawUnder({ context, width, height }, view, track, sound, tint, chosen) {
  if (sound) {
    context.globalAlpha = 0.55;
    drawMel(context, sound.mel, view, sound.seconds, width, height, tint.mel);
    context.globalAlpha = 0.75;
    if (sound.peaks) drawWave(context, sound.peaks, view, width, height, tint.wave, 10 ** (track.gain_db / 20));
    context.globalAlpha = 1;
  }
  context.fillStyle = tint.line;
  for (const level of [-12, -24, -36, -48]) context.fillRect(0, Math.round(levelToY(level, height)), width, 1);
  if (chosen) {
    context.font = '10px system-ui, sans-serif';
    context.fillStyle = tint.quiet;
    for (const level of [-12, -36]) context.fillText(`${level} dB`, 3, levelToY(level, height) - 2);
  }
}

// The ten levels a second that the model gets: drawing finer than this promises what nobody hears.
function drawSteps(context, curve, view, seconds, x, width, height, colour) {
  const levels = modelLevels(curve, seconds);
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  const first = Math.max(Math.floor(view.start * 10), 0);
  const last = Math.min(Math.ceil((view.start + view.span) * 10), levels.length - 1);
  for (let number = first; number <= last; number += 1) {
    const y = Math.round(levelToY(levels[number], height)) + 0.5;
    context[number === first ? 'moveTo' : 'lineTo'](x(number / 10), y);
    context.lineTo(x((number + 1) / 10), y);
  }
  context.stroke();
}

function drawCurve(context, curve, x, width, height, tint, { chosen, point }) {
  context.strokeStyle = tint.curve;
  context.lineWidth = chosen ? 2.2 : 1.6;
  context.lineJoin = 'round';
  context.beginPath();
  context.moveTo(-1, levelToY(curve[0][1], height));
  for (const [time, level] of curve) context.lineTo(x(time), levelToY(level, height));
  context.lineTo(width + 1, levelToY(curve.at(-1)[1], height));
  context.stroke();
  if (!chosen) return;
  curve.forEach(([time, level], number) => {
    const [px, py] = [x(time), levelToY(level, height)];
    if (px < -6 || px > width + 6) return;
    context.beginPath();
    if (number === point) context.rect(px - 5.5, py - 5.5, 11, 11);
    else context.arc(px, py, 4, 0, 2 * Math.PI);
    context.fillStyle = number === point ? tint.accent : tint.lane;
    context.fill();
    context.lineWidth = 2;
    context.stroke();
    if (number === point) drawValue(context, `${time.toFixed(2)} s  ${level.toFixed(1)} dB`, px, py, width, tint);
  });
}

// Beside a chosen point, on whichever side there is room.
function drawValue(context, words, x, y, width, tint) {
  context.font = '11px system-ui, sans-serif';
  const wide = context.measureText(words).width + 8;
  const left = x + 12 + wide < width ? x + 12 : x - 12 - wide;
  const top = Math.max(y - 20, 1);
  context.fillStyle = tint.lane;
  context.fillRect(left, top, wide, 16);
  context.fillStyle = tint.ink;
  context.fillText(words, left + 4, top + 12);
}
