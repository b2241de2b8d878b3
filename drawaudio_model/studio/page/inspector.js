// The chosen track beside the picture: words, mask and curve as numbers, seed, takes.

import { Problem, sendJson } from './api.js';
import { compare, compared, endComparing, hear, swap } from './compare.js';
import * as curves from './curve.js';
import * as tools from './curvetools.js';
import { keyframeAt, maskFrame, pointsText, readPoints, shapesAt, words as shapeWords } from './masks.js';
import { clearSection, regenerate, section, setSection } from './section.js';
import { change, changeTrack, chosenTrack, on, save, state, takesOf, tell } from './store.js';
import * as timeline from './timeline.js';
import { seconds } from './transport.js';
import * as viewer from './viewer.js';

const panel = document.getElementById('inspector');
let parts = null;
let builtFor = null;
let maskMark = null;
let curveMark = null;
const NO_SHAPES = [];
let bestFirst = localStorage.getItem('best-first') === 'on';

function element(name, properties = {}, ...children) {
  const { label, ...rest } = properties;
  const made = Object.assign(document.createElement(name), rest);
  if (label) made.setAttribute('aria-label', label);
  made.append(...children);
  return made;
}

// New children; who had the focus in them has it again, by its name.
function refill(parent, ...children) {
  const name = parent.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
  parent.replaceChildren(...children);
  if (name) [...parent.querySelectorAll('[aria-label]')].find((one) => one.getAttribute('aria-label') === name)?.focus({ preventScroll: true });
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
  const strict = element('input', { type: 'range', min: -0.5, max: 10, step: 0.5, label: 'How strictly the curve is followed' });
  const strictWords = element('output', { className: 'quiet' });
  strict.addEventListener('input', () => changeTrack(id, { strictness: Number(strict.value) < 0 ? null : Number(strict.value) }, 'strictness'));
  const make = button('Generate', 'Make takes of this track (G); with Shift a draft', (event) => generate({ draft: event.shiftKey }), 'strong wide');
  const draft = button('Draft', 'A take of few steps, to be heard soon (Shift+D)', makeDraft);
  const makeWords = element('output', { className: 'quiet words' });
  const range = element('span', { className: 'row' });
  const anew = button('Regenerate the section', 'Only this part of the take that is used is made anew, under what stands here now (Shift+G)', regenerate, 'wide');
  const order = button('Best first', 'By curve and words, stars before all; else the newest first', () => {
    bestFirst = !bestFirst;
    localStorage.setItem('best-first', bestFirst ? 'on' : 'off');
    refresh();
  }, 'small');
  const comparing = element('div', { className: 'row comparing', role: 'group', label: 'Comparison at equal loudness' });
  const takes = element('ol', { className: 'takes', label: 'Takes' });
  const mask = element('div', { className: 'numbers' });
  const curve = element('div', { className: 'numbers' });
  const maskBox = element('details', {}, element('summary', { textContent: 'Mask as numbers' }), mask);
  const curveBox = element('details', {}, element('summary', { textContent: 'Curve as numbers' }), curve);
  curveBox.addEventListener('toggle', () => drawCurve(true));
  maskBox.addEventListener('toggle', () => drawMask(true));
  const points = button('Points', 'Click adds a point, drag moves it', () => timeline.setPencil(false), 'toggle');
  const pencil = button('Freehand', 'Draw the curve by hand (D)', () => timeline.setPencil(true), 'toggle');
  const erase = button('No curve', 'The model chooses its own loudness', () => chosenTrack().curve && changeTrack(id, { curve: null }));
  const { box, record } = curveTools();
  const toolBox = element('details', {}, element('summary', { textContent: 'Change the curve' }), box);
  parts = {
    record, text, negative, seed, count, steps, strict, strictWords, make, draft, makeWords, range, anew, order, comparing, takes, mask, curve, maskBox, curveBox, points, pencil, erase };
  panel.append(
    element('label', {}, 'What should sound', text),
    element('label', {}, 'Not', negative),
    element('div', { className: 'row' },
      element('label', {}, 'Seed', element('span', { className: 'row' }, seed, dice)),
      element('label', {}, 'Takes', count), element('label', {}, 'Steps', steps)),
    element('div', { className: 'row' }, make, draft),
    element('div', { className: 'row group', role: 'group', label: 'Section' }, element('span', { className: 'label', textContent: 'Section' }), range),
    element('div', { className: 'row' }, anew),
    makeWords, element('div', { className: 'row' }, element('span', { className: 'label', textContent: 'Takes' }), element('span', { className: 'space' }), order), comparing, takes,
    element('div', { className: 'row group', role: 'group', label: 'Curve' }, element('span', { className: 'label', textContent: 'Curve' }), points, pencil,
      element('span', { className: 'space' }), erase),
    element('div', { className: 'row' }, element('span', { className: 'label', textContent: 'Strictness' }), strict, strictWords),
    toolBox, curveBox, maskBox,
  );
  refresh();
}

// What is said already is not said again: each saying costs a layout of the page.
const put = (input, value) => { if (document.activeElement !== input && input.value !== String(value)) input.value = value; };
const write = (part, words) => { if (part.textContent !== words) part.textContent = words; };

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
  put(parts.strict, track.strictness ?? -0.5);
  parts.strict.disabled = !track.curve;
  write(parts.strictWords, track.strictness === null ? 'as learnt' : track.strictness.toFixed(1));
  parts.strict.setAttribute('aria-valuetext', parts.strictWords.textContent);
  parts.anew.hidden = !section();
  parts.anew.disabled = parts.make.disabled || !track.take;
  parts.order.setAttribute('aria-pressed', String(bestFirst));
  drawSection();
  drawComparing();
  const job = [...state.jobs.values()].findLast((one) => one.track === track.id);
  const busy = job && (job.state === 'waiting' || job.state === 'running');
  parts.make.disabled = parts.draft.disabled = state.media.state !== 'ready' || !state.hasModel;
  write(parts.make, track.count > 1 ? `Generate ${track.count} takes` : 'Generate');
  write(parts.makeWords, busy ? stageWords(job)
    : job?.state === 'failed' ? job.sentence : !state.hasModel ? `There is no model at ${state.model}: run “make demo”, or start with --model.` : '');
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

export const makeDraft = () => generate({ draft: true });
export async function generate({ draft = false } = {}) {
  const track = chosenTrack();
  if (!track) return;
  try {
    await save();
    const job = await sendJson('POST', '/api/jobs', { track: track.id, draft });
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

const newest = (a, b) => (a.made < b.made ? 1 : a.made > b.made ? -1 : a.place - b.place);
function rank(take) {
  const known = [take.curve_score, take.clap_score].filter((one) => one !== null);
  return known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : -2;
}
function ordered(track) {
  const stars = (take) => Number(track.starred.includes(take.id));
  return takesOf(track.id).sort((a, b) => (bestFirst && (stars(b) - stars(a) || rank(b) - rank(a))) || newest(a, b));
}

const TOLD = ['text', 'negative_text', 'mask', 'curve', 'strictness'];
const texts = new WeakMap(); // of masks and curves, which are never changed in place: each is written out once
function textOf(value) {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (!texts.has(value)) texts.set(value, JSON.stringify(value));
  return texts.get(value);
}
const isCurrent = (track, take) => TOLD.every((name) => textOf(track[name]) === textOf(take.instructions[name] ?? null));

let takesMark = '';
function drawTakes(track) {
  const list = ordered(track);
  const mark = JSON.stringify([track.id, track.take, track.starred, state.document.steps, list.map((take) => [take.id, isCurrent(track, take)])]);
  if (mark === takesMark && parts.takes.childElementCount === list.length) return;
  if (parts.takes.contains(document.activeElement) && document.activeElement.className === 'note') return;
  takesMark = mark;
  refill(parts.takes, ...list.map((take, number) => takeCard(track, take, number)));
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
  const made = take.section
    ? [element('span', { className: 'tag', textContent: `${take.section.seconds.map((end) => end.toFixed(1)).join('–')} s`, title: 'Only this section was made; the rest is of another take' })] : [];
  const steps = take.steps === state.document.steps ? []
    : [element('span', { className: 'tag', textContent: `${take.steps} steps`, title: 'A draft, or made while other steps were asked for' })];
  const versus = button('A/B', `Hear it against the take that is used, at equal loudness (C swaps them)`, () => compare(take.id), 'small');
  versus.setAttribute('aria-label', `Compare take ${number + 1} with the one that is used`);
  versus.disabled = !track.take || track.take === take.id;
  const older = isCurrent(track, take) ? [] : [element('span', { className: 'tag', textContent: 'changed since', title: 'Words, mask or curve were changed after this take was made' })];
  const notices = take.notices.length
    ? [element('details', {}, element('summary', { textContent: `${take.notices.length} notice${take.notices.length > 1 ? 's' : ''}` }),
      ...take.notices.map((sentence) => element('p', { className: 'small', textContent: sentence })))] : [];
  return element('li', { className: track.take === take.id ? 'take chosen' : 'take' },
    element('div', { className: 'row' }, pick, reuse, element('span', { className: 'space' }), versus, star),
    element('div', { className: 'row' }, facts, element('span', { className: 'space' }), ...made, ...steps, ...older), note, ...notices);
}

function drawComparing() {
  const pair = compared();
  parts.comparing.hidden = !pair;
  if (!pair) return;
  const list = ordered(chosenTrack()).map((take) => take.id);
  const one = (which) => {
    const made = button(`${'AB'[which]}: take ${list.indexOf(pair.takes[which]) + 1}`, pair.cuts[which] < -0.05 ? `${(-pair.cuts[which]).toFixed(1)} dB softer than it is` : 'As loud as it is', () => hear(which));
    made.setAttribute('aria-pressed', String(pair.heard === which));
    return made;
  };
  refill(parts.comparing, one(0), one(1), element('span', { className: 'space' }), button('Done', 'The mix is heard again (Shift+C)', endComparing));
}

export function swapTakes() {
  const other = chosenTrack() && ordered(chosenTrack()).find((take) => take.id !== chosenTrack().take);
  if (compared()) swap();
  else if (other) compare(other.id);
}

let sectionMark = '';
function drawSection() {
  const range = section();
  const mark = JSON.stringify(range);
  if (mark === sectionMark && parts.range.childElementCount) return;
  sectionMark = mark;
  if (!range) {
    refill(parts.range, element('span', { className: 'quiet', textContent: 'drag on the ruler, or I and O' }));
    return;
  }
  refill(parts.range, 
    numberInput(range[0], 2, 'Start of the section in seconds', (value) => setSection(value, section()[1]), 0.05), '–',
    numberInput(range[1], 2, 'End of the section in seconds', (value) => setSection(section()[0], value), 0.05),
    button('✕', 'No section (X)', clearSection, 'small'),
  );
  parts.range.lastElementChild.setAttribute('aria-label', 'No section');
}

function curveTools() {
  const tool = (text, title, what) => button(text, title, () => tools.alter(what), 'small');
  const file = element('input', { type: 'file', accept: 'audio/*,video/*', className: 'hidden' });
  file.addEventListener('change', () => {
    tools.ofSound(file.files[0]);
    file.value = '';
  });
  const record = button('Record', 'Make the sound with your mouth while the video plays (Shift+R); press again to end', tools.record, 'small');
  const row = (label, ...buttons) => element('div', { className: 'row', role: 'group', label }, element('span', { className: 'label', textContent: label }), ...buttons);
  const box = element('div', { className: 'numbers' },
    element('p', { className: 'quiet', textContent: 'Of the section where there is one, else of all of it' }),
    row('Level', tool('+1 dB', 'Louder (Ctrl+↑)', { louder: 1 }), tool('−1 dB', 'Softer (Ctrl+↓)', { louder: -1 })),
    row('Contrast', tool('more', 'Its loudest level stays (Shift+Ctrl+↑)', { contrast: 1.1 }), tool('less', 'Its loudest level stays (Shift+Ctrl+↓)', { contrast: 1 / 1.1 })),
    row('Time', button('earlier', 'By a frame (Alt+←)', () => tools.byFrame(-1), 'small'), button('later', 'By a frame (Alt+→)', () => tools.byFrame(1), 'small'),
      tool('longer', 'By a twentieth (Shift+Ctrl+→)', { longer: 1.05 }), tool('shorter', 'By a twentieth (Shift+Ctrl+←)', { longer: 1 / 1.05 })),
    row('Copy', button('copy', 'Ctrl+C on the curve; a spreadsheet takes it, too', tools.copy, 'small'), button('paste at the playhead', 'Ctrl+V on the curve', () => tools.paste(), 'small')),
    row('From a sound', element('label', { className: 'button small' }, 'choose a file', file), record));
  return { box, record };
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
  const head = element('tr', {}, element('th', { textContent: 'seconds' }), element('th', { textContent: 'dB' }), element('td'));
  refill(parts.curve, element('table', {}, element('tbody', {}, head, ...rows)), add);
}

function drawMask(force = false) {
  const track = chosenTrack();
  if (!parts || !parts.maskBox.open) return;
  const frame = maskFrame(seconds(), state.media.model_frames ?? 1);
  const keyframe = track.mask ? keyframeAt(track.mask, frame) : null;
  const shapes = track.mask ? shapesAt(track.mask, frame) : NO_SHAPES;
  if (!force && shapes === maskMark) return;
  if (!force && parts.mask.contains(document.activeElement) && shapes.length === maskMark?.length) {
    maskMark = shapes;
    return;
  }
  maskMark = shapes;
  const rows = shapes.map((shape, number) => shapeRow(shape, number));
  const add = button('Add a box', '', () => {
    const now = chosenTrack().mask ? shapesAt(chosenTrack().mask, maskFrame(seconds(), state.media.model_frames)) : [];
    viewer.setShapes([...now, { kind: 'box', cut: false, points: [[0.35, 0.35], [0.65, 0.65]], size: 0 }]);
    drawMask(true);
  });
  const where = keyframe ? element('p', { className: 'quiet', textContent: `Keyframe at ${(keyframe.frame / 4).toFixed(2)} s; shares of the picture, from its upper left corner` }) : '';
  refill(parts.mask, where, ...rows, add);
}

function shapeRow(shape, number) {
  const current = () => shapesAt(chosenTrack().mask, maskFrame(seconds(), state.media.model_frames));
  const remove = button('✕', `Remove shape ${number + 1}`, () => {
    viewer.setShapes(current().filter((_, one) => one !== number));
    drawMask(true);
  }, 'small');
  const name = `${shapeWords[shape.kind].toLowerCase()} ${number + 1}`;
  const title = element('span', { textContent: `${number + 1} ${shapeWords[shape.kind]}` });
  const put_ = (change_, key) => viewer.setShapes(current().map((one, place) => (place === number ? change_(one) : one)), key);
  const cut = element('input', { type: 'checkbox', checked: shape.cut, label: `Cut out ${name}` });
  cut.addEventListener('change', () => put_((one) => ({ ...one, cut: cut.checked })));
  const points = () => {
    const field = element('input', { className: 'points', value: pointsText(shape), label: `Points of ${name}`, spellcheck: false });
    field.title = 'x and y of each point, as shares of the picture: 0.2 0.3, 0.6 0.3, …';
    field.addEventListener('change', () => {
      const given = readPoints(field.value, shape.kind);
      if (given) put_((one) => ({ ...one, points: given }));
      else {
        tell('problem', `The points of ${name} are “${field.value.slice(0, 60)}”, expected pairs from 0 to 1 such as 0.2 0.3, 0.6 0.3${shape.kind === 'lasso' ? ', at least three' : ''}.`);
        field.value = pointsText(current()[number]);
      }
    });
    return field;
  };
  const size = () => numberInput(shape.size, 2, `Size of ${name}`, (value) => put_((one) => ({ ...one, size: Math.min(Math.max(value, 0), 1) }), `size ${number}`), 0.01);
  const inputs = shape.kind !== 'box' ? [points(), ...(shape.kind === 'brush' ? [size()] : [])] : [[0, 0, 'left'], [0, 1, 'top'], [1, 0, 'right'], [1, 1, 'bottom']].map(([corner, axis, name]) =>
    numberInput(shape.points[corner][axis], 3, `${name} of box ${number + 1}`, (value) => {
      const bounded = Math.min(Math.max(value, 0), 1);
      put_((one) => ({ ...one, points: one.points.map((old, c) => (c === corner ? old.map((v, a) => (a === axis ? bounded : v)) : old)) }), `box ${number} ${corner} ${axis}`);
    }, 0.01));
  return element('div', { className: 'row shape' }, title, element('label', { className: 'cut' }, cut, 'cut out'), remove, element('div', { className: 'row values' }, ...inputs));
}

on('document', refresh);
on('chosen', refresh);
on('takes', refresh);
on('jobs', refresh);
on('media', refresh);
on('pencil', refresh);
on('compared', refresh);
on('recording', () => {
  if (!parts) return;
  parts.record.textContent = tools.recording() ? 'Stop recording' : 'Record';
  parts.record.setAttribute('aria-pressed', String(tools.recording()));
});
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
