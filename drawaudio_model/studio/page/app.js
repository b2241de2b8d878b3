// The page as a whole: what is loaded first, the keys, jobs as they go on, and exports.

import { Problem, ask, getJson, sendJson, upload } from './api.js';
import { endComparing } from './compare.js';
import * as tools from './curvetools.js';
import { chooseTake, generate, makeDraft, stageWords, swapTakes } from './inspector.js';
import { toMarker, toggleMarker } from './markers.js';
import { withFollowed } from './masks.js';
import './exporting.js';
import './meters.js';
import { clearSection, regenerate, setEnd } from './section.js';
import { toggleLow } from './split.js';
import * as store from './store.js';
import { on, state, tell } from './store.js';
import { readTime, timecode } from './timecode.js';
import * as timeline from './timeline.js';
import * as transport from './transport.js';
import * as viewer from './viewer.js';

const $ = (id) => document.getElementById(id);
const video = $('video');
const live = $('live');
let singleKeys = localStorage.getItem('single-keys') !== 'off';

async function start() {
  const project = await getJson('/api/project');
  state.model = project.model;
  state.hasModel = project.has_model;
  if (!project.document) {
    $('empty').hidden = false;
    $('open-demo').hidden = !project.demo;
    return;
  }
  $('studio').hidden = false;
  $('name').textContent = project.name;
  $('name').title = project.folder;
  document.title = `${project.name} – Draw an Audio`;
  state.takes = new Map(project.takes.map((take) => [take.id, take]));
  state.jobs = new Map(project.jobs.map((job) => [job.id, job]));
  store.load(project.document);
  if (project.notice) showProblem(project.notice);
  tell('document');
  tell('chosen');
  listen(project.event);
  await showMedia(await getJson('/api/media'));
}

// The video

async function showMedia(media) {
  // An event tells of the media without the times of its frames; whatever draws needs both at once.
  if (media.state === 'ready' && !media.times) media = await getJson('/api/media');
  const was = state.media.state;
  state.media = media;
  const making = $('making');
  making.hidden = media.state === 'ready';
  if (media.state === 'making') {
    const what = media.stage === 'sound' ? 'Looking at its sound' : 'Preparing the picture';
    making.textContent = `${what}… ${Math.round(100 * (media.share ?? 0))} %`;
  } else if (media.state === 'failed') {
    making.textContent = media.sentence;
    showProblem(media.sentence);
  } else if (media.state === 'none') {
    making.textContent = 'Opening the video…';
  }
  if (media.state === 'ready' && was !== 'ready') {
    $('still').src = video.src = `/media/proxy.mp4?${encodeURIComponent(state.media.mark.join())}`;
    video.addEventListener('loadeddata', () => transport.seekFrame(0), { once: true });
    tell('media');
    tell('moved');
  }
}

// Events of the server

function listen(after) {
  const source = new EventSource(`/api/events?after=${after}`);
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.kind === 'media') showMedia(event);
    else if (event.kind === 'notice') showProblem(event.sentence);
    else if (event.kind === 'job') showJob(event);
  };
}

async function showJob(job) {
  const before = state.jobs.get(job.id);
  state.jobs.set(job.id, job);
  if (job.state !== before?.state || job.stage !== before?.stage) say(job);
  if (job.state === 'done' && before?.state !== 'done') {
    const project = await getJson('/api/project');
    state.takes = new Map(project.takes.map((take) => [take.id, take]));
    if (job.keyframes) findsMask(job);
    if (job.points) tools.heard(job);
    if (job.takes?.length && state.document.tracks.some((track) => track.id === job.track)) {
      store.changeTrack(job.track, { take: job.takes[0] });
      transport.refreshMix();
    }
    tell('takes');
  }
  if (job.state === 'failed') showProblem(job.sentence);
  tell('jobs');
}

function findsMask(job) {
  const track = state.document.tracks.find((one) => one.id === job.track);
  if (!track || (job.do === 'follow' && !track.mask)) return;
  const found = { invert: false, keyframes: job.keyframes };
  store.changeTrack(job.track, { mask: job.do === 'follow' ? withFollowed(track.mask, job.keyframes, job.followed_to) : found });
}

$('find').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (!state.track) return;
  await store.save();
  await attempt(() => sendJson('POST', '/api/jobs', { track: state.track, do: 'detect', words: $('find-words').value }));
});

function say(job) {
  const made = { detect: 'The mask is there', follow: 'The mask follows', curve: 'The curve is there', regenerate: 'The section is there' };
  const words = {
    done: made[job.do] ?? 'The takes are there', cancelled: 'Cancelled', failed: job.sentence, waiting: 'Waiting for its turn',
  };
  live.textContent = words[job.state] ?? job.stage;
}

function drawJob() {
  const all = [...state.jobs.values()];
  const job = all.find((one) => one.state === 'running') ?? all.find((one) => one.state === 'waiting');
  $('job').hidden = !job;
  if (!job) return;
  $('job-words').textContent = stageWords(job);
  if (job.total) $('job-bar').value = job.step / job.total;
  else $('job-bar').removeAttribute('value');
  $('job-cancel').dataset.job = job.id;
}
on('jobs', drawJob);

export async function cancel() {
  const id = $('job-cancel').dataset.job;
  if (!$('job').hidden) await attempt(() => sendJson('DELETE', `/api/jobs/${id}`));
}

async function attempt(action) {
  try {
    return await action();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    showProblem(problem.message);
    return null;
  }
}

function showProblem(sentence) {
  $('notice').hidden = false;
  $('notice').firstElementChild.textContent = sentence;
}
on('problem', showProblem);
$('notice').lastElementChild.addEventListener('click', () => { $('notice').hidden = true; });
on('saved', (words) => {
  if ($('saved').textContent !== words) $('saved').textContent = words;
});
on('say', (words) => { live.textContent = words; });

// The bar

let shown = -1;
on('moved', () => {
  if (state.media.state !== 'ready') return;
  const number = transport.frame();
  if (number === shown) return;
  shown = number;
  if (document.activeElement !== $('timecode')) $('timecode').value = timecode(number, state.media);
  $('frame').textContent = `f${number}`;
});
on('playing', () => {
  const going = transport.playing();
  $('play').classList.toggle('going', going);
  $('play').setAttribute('aria-label', going ? 'Pause' : 'Play');
  const speed = transport.speed();
  $('speed').textContent = Math.abs(speed) > 1 || speed < 0 ? `${speed}×` : '';
});
on('document', () => {
  $('undo').disabled = !store.canUndo();
  $('redo').disabled = !store.canRedo();
});
$('to-start').addEventListener('click', () => transport.seekFrame(0));
$('back').addEventListener('click', () => transport.step(-1));
$('on').addEventListener('click', () => transport.step(1));
$('play').addEventListener('click', transport.toggle);
$('undo').addEventListener('click', store.undo);
$('redo').addEventListener('click', store.redo);
$('add-track').addEventListener('click', store.newTrack);
$('zoom-in').addEventListener('click', () => timeline.zoom(0.5));
$('zoom-out').addEventListener('click', () => timeline.zoom(2));
$('zoom-all').addEventListener('click', timeline.showAll);
$('job-cancel').addEventListener('click', cancel);
$('timecode').addEventListener('keydown', (event) => {
  if (event.key === 'Enter') {
    const frame = readTime($('timecode').value, state.media);
    if (frame === null) showProblem(`“${$('timecode').value}” is no time; type 00:00:01:12, 1.5 or f36.`);
    else transport.seekFrame(frame);
    $('timecode').blur();
  } else if (event.key === 'Escape') $('timecode').blur();
});
$('timecode').addEventListener('blur', () => {
  if (state.media.state === 'ready') $('timecode').value = timecode(transport.frame(), state.media);
});
$('timecode').addEventListener('focus', () => $('timecode').select());

// Dropping a video

async function take(file) {
  if (!file) return;
  const bar = $('upload');
  bar.hidden = false;
  $('notice').hidden = true;
  if (await attempt(() => upload(file, (share) => { bar.value = share; }))) location.reload();
  bar.hidden = true;
  $('file').value = ''; // the same one may be chosen again
}
$('file').addEventListener('change', (event) => take(event.target.files[0]));
$('open-demo').addEventListener('click', async () => {
  if (await attempt(() => sendJson('POST', '/api/demo'))) location.reload();
});
for (const name of ['dragover', 'drop']) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $('drop').classList.toggle('over', name === 'dragover');
    if (name !== 'drop') return;
    if (!$('empty').hidden) take(event.dataTransfer.files[0]);
    else if (event.dataTransfer.files.length && !event.target.closest('.track .lane')) {
      showProblem('A project is open: drop a sound on the lane of a track for its curve; for another video start another studio.');
    }
  });
}
addEventListener('dragleave', () => $('drop').classList.remove('over'));

// Keys

const KEYS = [
  ['Space', 'play, pause'], ['J K L', 'back, pause, on; again for faster'], ['← →', 'one frame; with Shift ten'], ['Home End', 'first, last frame'],
  ['I O X', 'first and last frame of the section, none'], ['Shift+G', 'make the section anew'],
  ['M, Shift+M', 'marker here, or none; its name'], [', .', 'marker before, after'], ['V B Q P E', 'select, box, lasso, brush, eraser; Alt cuts out'],
  ['[ ]', 'size of the brush'], ['Shift+K', 'keyframe of the mask here'], ['Shift+L', 'it is held, or moves to the next'], ['F', 'the mask follows what is under it'], ['D', 'curve: points or freehand'], ['G, Shift+D', 'generate, a draft of few steps'], ['Esc', 'cancel the job'],
  ['1–9', 'use that take'], ['C, Shift+C', 'compare two takes at equal loudness, swap them; end'], ['Shift+R', 'record a sound for the curve'], ['N', 'next track'], ['H', 'low tracks, or high ones'], ['+ − 0', 'zoom, whole video'], ['Ctrl+Z, Shift+Ctrl+Z', 'undo, redo'], ['Ctrl+S', 'save at once'],
  ['on a curve', 'A adds a point, Ctrl+← → chooses one, arrows move it by a frame or 0.5 dB, Enter shows numbers, Delete removes; Ctrl and drag moves a line'],
  ['the curve, or its section', 'Ctrl+C, Ctrl+V; Ctrl+↑ ↓ louder, softer; Alt+← → earlier, later; with Shift+Ctrl: ↑ ↓ contrast, ← → shorter, longer'],
  ['on the picture', 'N adds a box, or a shape of the tool, . chooses a shape, arrows move it, with Ctrl its corner, Delete removes'],
  ['on a lasso or stroke', 'Ctrl+. and Ctrl+, choose a point, arrows move it, A adds one, Delete removes it; the mouse drags a lasso’s points, double click adds, Alt and click removes'],
];
for (const [key, words] of KEYS) {
  $('keys').append(Object.assign(document.createElement('dt'), { textContent: key }), Object.assign(document.createElement('dd'), { textContent: words }));
}
$('single-keys').checked = singleKeys;
$('single-keys').addEventListener('change', () => {
  singleKeys = $('single-keys').checked;
  localStorage.setItem('single-keys', singleKeys ? 'on' : 'off');
});
const help = () => $('help').showModal();
$('help-open').addEventListener('click', help);

function nextTrack() {
  const { tracks } = state.document;
  const place = tracks.findIndex((track) => track.id === state.track);
  if (tracks.length) store.choose(tracks[(place + 1) % tracks.length].id);
}

const single = {
  ' ': transport.toggle, j: () => transport.shuttle(-1), k: () => transport.stop(), l: () => transport.shuttle(1), m: toggleMarker, M: timeline.nameMarker,
  ',': () => toMarker(-1), '.': () => toMarker(1), v: () => viewer.choose('select'), b: () => viewer.choose('box'),
  q: () => viewer.choose('lasso'), p: () => viewer.choose('brush'), e: () => viewer.choose('erase'), '[': () => viewer.grow(-2), ']': () => viewer.grow(2),
  K: viewer.addKeyframe, L: viewer.toggleLinear, f: viewer.follow, G: regenerate, i: () => setEnd(false), o: () => setEnd(true), x: clearSection,
  c: swapTakes, C: endComparing, R: tools.record, d: () => timeline.setPencil(!timeline.isPencil()), g: () => generate(), D: makeDraft, n: nextTrack, h: toggleLow, '+': () => timeline.zoom(0.5), '=': () => timeline.zoom(0.5),
  '-': () => timeline.zoom(2), 0: timeline.showAll, '?': help, t: () => $('find-words').focus(),
  r: (event) => event.repeat || timeline.ride(true),
};
const always = {
  ArrowLeft: (event) => transport.step(event.shiftKey ? -10 : -1), ArrowRight: (event) => transport.step(event.shiftKey ? 10 : 1),
  Home: () => transport.seekFrame(0), End: () => transport.seekFrame(Infinity), Escape: cancel,
};

// Who went to a button by Tab presses it with Space; after a click with the mouse Space plays, as everywhere else.
let byTab = false;
addEventListener('pointerdown', () => { byTab = false; }, true);
addEventListener('keydown', (event) => {
  if (event.key === 'Tab') byTab = true;
  if (document.querySelector('dialog[open]') || !state.document) return;
  const target = event.target;
  const typing = target.matches('textarea, input:not([type=range]):not([type=checkbox])');
  const letter = event.key.length === 1;
  const upper = event.key.toUpperCase();
  const key = letter ? (event.shiftKey && single[upper] && upper !== event.key.toLowerCase() ? upper : event.key.toLowerCase()) : event.key;
  if ((event.ctrlKey || event.metaKey) && key === 's') store.save();
  else if ((event.ctrlKey || event.metaKey) && key === 'z' && !typing) (event.shiftKey ? store.redo : store.undo)();
  else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (state.media.state !== 'ready' && key !== '?') return; // there are no frames yet
  else if (key === ' ' && byTab && target.matches('button, summary, select, input[type=checkbox]')) return;
  else if (always[key] && !target.matches('input')) always[key](event);
  else if (singleKeys && single[key]) single[key](event);
  else if (singleKeys && /^[1-9]$/.test(key)) chooseTake(Number(key) - 1);
  else return;
  event.preventDefault();
});

addEventListener('keyup', (event) => {
  if (event.key.toLowerCase() === 'r') timeline.ride(false);
});

addEventListener('beforeunload', store.holdBack);
addEventListener('pagehide', store.saveAtOnce);
start().catch((problem) => showProblem(problem.message));

// For tests, and for the curious: nothing here that the page does not show.
window.studio = { state, store, on, transport, ask, timeline };
