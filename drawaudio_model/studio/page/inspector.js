// The chosen track beside the picture: words, mask and curve as numbers, seed, takes.

import { Problem, sendJson } from './api.js';
import * as curves from './curve.js';
import { keyframeAt, maskFrame, words as shapeWords } from './masks.js';
import { change, changeTrack, chosenTrack, on, save, state, takesOf, tell } from './store.js';
import * as timeline from './timeline.js';
import { seconds } from './transport.js';
import * as viewer from './viewer.js';

const panel = document.getElementById('inspector');
let parts = null;
let builtFor = null;
let maskMark = null;
let curveMark = null;

function element(name, properties = {}, ...children) {
  const { label, ...rest } = properties;
  const made = Object.assign(document.createElement(name), rest);
  if (label) made.setAttribute('aria-label', label);
  made.append(...children);
  return made;
}

const button = (text, title, press, className = '') => {
  const made = element('button', { textContent: text, title, className });
  made.addEventListener('click', press);
  return made;
};

function build() {
  const track = chosenTrack();
  builtFor = track?.id ?? null;
  maskMark = curveMark = null;
  panel.replaceChildren();
  parts = null;
  if (!track) {
    panel.append(element('p', { className: 'quiet', textContent: 'No track. Add one with “+ Track”.' }));
    return;
  }
  const id = track.id;
  const text = element('textarea', { rows: 2, placeholder: 'a bell rings', maxLength: 2000 });
  text.addEventListener('input', () => changeTrack(id, { text: text.value }, 'text'));
  const negative = element('input', { placeholder: 'what should not sound', maxLength: 2000 });
  negative.addEventListener('input', () => changeTrack(id, { negative_text: negative.value }, 'negative'));
  const seed = element('input', { className: 'number', inputMode: 'numeric', placeholder: 'random' });
  seed.addEventListener('change', () => {
    const given = seed.value.trim();
    if (given && !/^\d{1,15}$/.test(given)) {
      tell('problem', `The seed is “${given}”, expected a whole number from 0, or nothing for a random one.`);
      seed.value = chosenTrack().seed ?? '';
    } else changeTrack(id, { seed: given ? Number(given) : null });
  });
  const dice = button('New', 'Another seed', () => changeTrack(id, { seed: Math.floor(Math.random() * 2 ** 31) }), 'small');
  dice.setAttribute('aria-label', 'Another seed');
  const count = element('input', { className: 'number', type: 'number', min: 1, max: 16 });
  count.addEventListener('change', () => changeTrack(id, { count: Math.min(Math.max(Math.round(Number(count.value)) || 1, 1), 16) }));
  const steps = element('input', { className: 'number', type: 'number', min: 1, max: 1000 });
  steps.addEventListener('change', () => {
    const value = Math.min(Math.max(Math.round(Number(steps.value)) || 25, 1), 1000);
    change((document) => ({ ...document, steps: value }));
  });
  const make = button('Generate', 'Make takes of this track (G)', generate, 'strong wide');
  const makeWords = element('output', { className: 'quiet' });
  const takes = element('ol', { className: 'takes', label: 'Takes, the newest first' });
  const mask = element('div', { className: 'numbers' });
  const curve = element('div', { className: 'numbers' });
  const maskBox = element('details', {}, element('summary', { textContent: 'Mask as numbers' }), mask);
  const curveBox = element('details', {}, element('summary', { textContent: 'Curve as numbers' }), curve);
  curveBox.addEventListener('toggle', () => drawCurve(true));
  maskBox.addEventListener('toggle', () => drawMask(true));
  const points = button('Points', 'Click adds a point, drag moves it', () => timeline.setPencil(false), 'toggle');
  const pencil = button('Freehand', 'Draw the curve by hand (D)', () => timeline.setPencil(true), 'toggle');
  const erase = button('No curve', 'The model chooses its own loudness', () => chosenTrack().curve && changeTrack(id, { curve: null }));
  parts = { text, negative, seed, count, steps, make, makeWords, takes, mask, curve, maskBox, curveBox, points, pencil, erase };
  panel.append(
    element('label', {}, 'What should sound', text),
    element('label', {}, 'Not', negative),
    element('div', { className: 'row' },
      element('label', {}, 'Seed', element('span', { className: 'row' }, seed, dice)),
      element('label', {}, 'Takes', count), element('label', {}, 'Steps', steps)),
    element('div', { className: 'row' }, make), makeWords, takes,
    element('div', { className: 'row group', role: 'group', label: 'Curve' }, element('span', { className: 'label', textContent: 'Curve' }), points, pencil,
      element('span', { className: 'space' }), erase),
    curveBox, maskBox,
  );
  refresh();
}

const put = (input, value) => { if (document.activeElement !== input) input.value = value; };

function refresh() {
  const track = chosenTrack();
  if ((track?.id ?? null) !== builtFor) {
    build();
    return;
  }
  if (!track) return;
  put(parts.text, track.text);
  put(parts.negative, track.negative_text);
  if (document.activeElement !== parts.seed || String(track.seed ?? '') !== parts.seed.value) parts.seed.value = track.seed ?? '';
  put(parts.count, track.count);
  put(parts.steps, state.document.steps);
  parts.points.setAttribute('aria-pressed', String(!timeline.isPencil()));
  parts.pencil.setAttribute('aria-pressed', String(timeline.isPencil()));
  parts.erase.disabled = !track.curve;
  const job = [...state.jobs.values()].findLast((one) => one.track === track.id);
  const busy = job && (job.state === 'waiting' || job.state === 'running');
  parts.make.disabled = state.media.state !== 'ready' || !state.hasModel;
  parts.make.textContent = track.count > 1 ? `Generate ${track.count} takes` : 'Generate';
  parts.makeWords.textContent = busy ? stageWords(job)
    : job?.state === 'failed' ? job.sentence : !state.hasModel ? `There is no model at ${state.model}: run “make demo”, or start with --model.` : '';
  parts.makeWords.classList.toggle('bad', job?.state === 'failed' || !state.hasModel);
  drawTakes(track);
  drawMask();
  drawCurve();
}

export function stageWords(job) {
  const steps = job.total ? ` ${job.step}/${job.total}` : '';
  const left = job.seconds_left > 0 ? `, about ${Math.ceil(job.seconds_left)} s left` : '';
  return `${job.stage}${steps}${left}`;
}

export async function generate() {
  const track = chosenTrack();
  if (!track) return;
  try {
    await save();
    const job = await sendJson('POST', '/api/jobs', { track: track.id });
    if (!state.jobs.has(job.id)) state.jobs.set(job.id, job);
    tell('jobs');
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    tell('problem', problem.message);
  }
}

// Takes

const score = (value) => (value === null ? '–' : value.toFixed(2));

export function chooseTake(number) {
  const track = chosenTrack();
  const list = track ? ordered(track) : [];
  if (list[number]) changeTrack(track.id, { take: list[number].id });
}

const ordered = (track) => takesOf(track.id).sort((a, b) => (a.made < b.made ? 1 : a.made > b.made ? -1 : a.place - b.place));

const isCurrent = (track, take) => JSON.stringify([track.text, track.negative_text, track.mask, track.curve])
  === JSON.stringify(['text', 'negative_text', 'mask', 'curve'].map((name) => take.instructions[name]));

let takesMark = '';
function drawTakes(track) {
  const list = ordered(track);
  const mark = JSON.stringify([track.id, track.take, track.starred, list.map((take) => [take.id, isCurrent(track, take)])]);
  if (mark === takesMark && parts.takes.childElementCount === list.length) return;
  if (parts.takes.contains(document.activeElement) && document.activeElement.className === 'note') return;
  takesMark = mark;
  parts.takes.replaceChildren(...list.map((take, number) => takeCard(track, take, number)));
}

function takeCard(track, take, number) {
  const id = track.id;
  const pick = button(`${number + 1}`, `Use this take (${number + 1})`, () => changeTrack(id, { take: take.id }), 'pick');
  pick.setAttribute('aria-pressed', String(track.take === take.id));
  pick.setAttribute('aria-label', `Use take ${number + 1}, seed ${take.seed}`);
  const starred = track.starred.includes(take.id);
  const star = button(starred ? '★' : '☆', 'Star', () => {
    const now = chosenTrack().starred;
    changeTrack(id, { starred: now.includes(take.id) ? now.filter((one) => one !== take.id) : [...now, take.id] });
  }, 'small');
  star.setAttribute('aria-pressed', String(starred));
  star.setAttribute('aria-label', `Star take ${number + 1}`);
  const reuse = button(`seed ${take.seed}`, 'Use this seed again', () => changeTrack(id, { seed: take.seed }), 'link');
  const facts = element('span', { className: 'quiet', textContent: `curve ${score(take.curve_score)} · words ${score(take.clap_score)}` });
  facts.title = 'How well it follows the curve (correlation), and fits the words (CLAP, with several takes); 1 is best';
  const note = element('input', { className: 'note', placeholder: 'note', value: track.notes[take.id] ?? '', label: `Note on take ${number + 1}` });
  note.addEventListener('change', () => changeTrack(id, { notes: { ...chosenTrack().notes, [take.id]: note.value.slice(0, 2000) } }));
  const older = isCurrent(track, take) ? [] : [element('span', { className: 'tag', textContent: 'changed since', title: 'Words, mask or curve were changed after this take was made' })];
  const notices = take.notices.length
    ? [element('details', {}, element('summary', { textContent: `${take.notices.length} notice${take.notices.length > 1 ? 's' : ''}` }),
      ...take.notices.map((sentence) => element('p', { className: 'small', textContent: sentence })))] : [];
  return element('li', { className: track.take === take.id ? 'take chosen' : 'take' },
    element('div', { className: 'row' }, pick, reuse, element('span', { className: 'space' }), ...older, star),
    facts, note, ...notices);
}

// Numbers

function numberInput(value, digits, label, put_, step) {
  const input = element('input', { className: 'number', value: value.toFixed(digits), label, inputMode: 'decimal' });
  const accept = () => {
    const given = Number(input.value.trim().replace(',', '.'));
    if (input.value.trim() && Number.isFinite(given)) put_(given);
    else {
      tell('problem', `${label} is “${input.value}”, expected a number.`);
      input.value = value.toFixed(digits);
    }
  };
  input.addEventListener('change', accept);
  input.addEventListener('keydown', (event) => {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    input.value = (Number(input.value) + direction * step).toFixed(digits);
    accept();
  });
  return input;
}

function drawCurve(force = false) {
  const track = chosenTrack();
  if (!parts || !parts.curveBox.open || (!force && track.curve === curveMark)) return;
  if (!force && parts.curve.contains(document.activeElement) && track.curve?.length === curveMark?.length) {
    curveMark = track.curve;
    return;
  }
  curveMark = track.curve;
  const length = state.media.seconds ?? 0;
  const rows = (track.curve ?? []).map(([time, level], number) => {
    const put_ = (seconds_, level_) => changeTrack(track.id, { curve: curves.moved(chosenTrack().curve, number, seconds_, level_, length) });
    const at = () => chosenTrack().curve[number];
    return element('tr', {},
      element('td', {}, numberInput(time, 3, `Time of point ${number + 1} in seconds`, (value) => put_(value, at()[1]), 0.05)),
      element('td', {}, numberInput(level, 1, `Level of point ${number + 1} in decibels`, (value) => put_(at()[0], value), 0.5)),
      element('td', {}, button('✕', `Remove point ${number + 1}`, () => {
        const rest = chosenTrack().curve.filter((_, one) => one !== number);
        changeTrack(track.id, { curve: rest.length ? rest : null });
        drawCurve(true);
      }, 'small')));
  });
  const add = button('Add a point at the playhead', '', () => {
    const at = seconds();
    const { curve } = chosenTrack();
    changeTrack(track.id, { curve: curves.added(curve, curves.point(at, curve ? curves.levelAt(curve, at) : -24, length))[0] });
    drawCurve(true);
  });
  const shift = (by) => button(by > 0 ? `+${by} dB` : `−${-by} dB`, 'All points', () => {
    changeTrack(track.id, { curve: chosenTrack().curve.map(([time, level]) => curves.point(time, level + by, length)) });
    drawCurve(true);
  }, 'small');
  const head = element('tr', {}, element('th', { textContent: 'seconds' }), element('th', { textContent: 'dB' }), element('th', { label: 'Remove' }));
  const all = track.curve ? [element('div', { className: 'row' }, 'All: ', shift(1), shift(-1))] : [];
  parts.curve.replaceChildren(element('table', {}, element('tbody', {}, head, ...rows)), ...all, add);
}

function drawMask(force = false) {
  const track = chosenTrack();
  if (!parts || !parts.maskBox.open) return;
  const frame = maskFrame(seconds(), state.media.model_frames ?? 1);
  const keyframe = track.mask ? keyframeAt(track.mask, frame) : null;
  if (!force && keyframe?.shapes === maskMark) return;
  if (!force && parts.mask.contains(document.activeElement) && keyframe?.shapes.length === maskMark?.length) {
    maskMark = keyframe?.shapes;
    return;
  }
  maskMark = keyframe?.shapes;
  const shapes = keyframe?.shapes ?? [];
  const rows = shapes.map((shape, number) => shapeRow(shape, number));
  const add = button('Add a box', '', () => {
    const now = chosenTrack().mask ? keyframeAt(chosenTrack().mask, maskFrame(seconds(), state.media.model_frames)).shapes : [];
    viewer.setShapes([...now, { kind: 'box', cut: false, points: [[0.35, 0.35], [0.65, 0.65]], size: 0 }]);
    drawMask(true);
  });
  const where = keyframe ? element('p', { className: 'quiet', textContent: `Keyframe at ${(keyframe.frame / 4).toFixed(2)} s; shares of the picture, from its upper left corner` }) : '';
  parts.mask.replaceChildren(where, ...rows, add);
}

function shapeRow(shape, number) {
  const current = () => keyframeAt(chosenTrack().mask, maskFrame(seconds(), state.media.model_frames)).shapes;
  const remove = button('✕', `Remove shape ${number + 1}`, () => {
    viewer.setShapes(current().filter((_, one) => one !== number));
    drawMask(true);
  }, 'small');
  const title = element('span', { textContent: `${number + 1} ${shapeWords[shape.kind]}${shape.cut ? ', cut out' : ''}` });
  const inputs = shape.kind !== 'box' ? [] : [[0, 0, 'left'], [0, 1, 'top'], [1, 0, 'right'], [1, 1, 'bottom']].map(([corner, axis, name]) =>
    numberInput(shape.points[corner][axis], 3, `${name} of box ${number + 1}`, (value) => {
      const bounded = Math.min(Math.max(value, 0), 1);
      viewer.setShapes(current().map((one, place) => (place !== number ? one : {
        ...one, points: one.points.map((old, c) => (c === corner ? old.map((v, a) => (a === axis ? bounded : v)) : old)),
      })), `box ${number} ${corner} ${axis}`);
    }, 0.01));
  return element('div', { className: 'row shape' }, title, ...inputs, element('span', { className: 'space' }), remove);
}

on('document', refresh);
on('chosen', refresh);
on('takes', refresh);
on('jobs', refresh);
on('media', refresh);
on('pencil', refresh);
on('shape', () => drawMask());
on('numbers', (index) => {
  parts.curveBox.open = true;
  drawCurve(true);
  setTimeout(() => parts.curve.querySelectorAll('tr')[index + 1]?.querySelectorAll('input')[1]?.select(), 30);
});
on('point', () => {
  const curve = chosenTrack()?.curve;
  if (parts?.curveBox.open && curve) {
    [...parts.curve.querySelectorAll('tr')].forEach((row, number) => row.classList.toggle('chosen', number === timeline.chosenPoint() + 1));
  }
});
