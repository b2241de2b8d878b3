// What is done to a curve as a whole, or to the section of it: copied, pasted, raised, moved, stretched, made from a sound.

import { Problem } from './api.js';
import * as curves from './curve.js';
import { section } from './section.js';
import { change, changeTrack, chosenTrack, on, save, state, tell } from './store.js';
import * as transport from './transport.js';

let kept = null; // points that were copied; the first one's time is 0

export const hasCopy = () => kept !== null;

export function copy() {
  const curve = chosenTrack()?.curve;
  if (!curve) return null;
  const points = section() ? curves.part(curve, section()) : curve;
  kept = points.map(([time, level]) => [time - points[0][0], level]);
  tell('say', `${points.length} points copied`);
  tell('copied');
  return curves.toTable(kept);
}

// At the playhead.
export function paste(text = '') {
  const track = chosenTrack();
  const points = curves.fromTable(text) ?? kept;
  if (!track || !points?.length) return;
  const at = transport.seconds() - points[0][0];
  const moved = points.map(([time, level]) => [at + time, level]);
  put(track, moved);
}

function put(track, points, tolerance = 0) {
  const { seconds } = state.media;
  const inside = points.filter(([time]) => time <= seconds);
  if (!inside.length) return;
  const range = [Math.max(inside[0][0], 0), Math.max(inside.at(-1)[0], inside[0][0] + 1e-3)];
  const simple = tolerance ? curves.simplified(inside, tolerance) : inside;
  changeTrack(track.id, { curve: curves.replaced(track.curve, range, simple, seconds) });
}

// `what`: louder (dB), contrast (factor), later (seconds), longer (factor); of the section, which goes along, or of all of it.
export function alter(what) {
  const track = chosenTrack();
  if (!track?.curve) return;
  const [curve, range] = curves.changed(track.curve, section(), what, state.media.seconds);
  change((document) => ({
    ...document, section: range ?? document.section,
    tracks: document.tracks.map((one) => (one.id === track.id ? { ...one, curve } : one)),
  }), `${track.id} ${Object.keys(what)}`);
}

const frameLength = () => state.media.rate.denominator / state.media.rate.numerator;
const ARROWS = {
  'Control ArrowUp': () => ({ louder: 0.5 }), 'Control ArrowDown': () => ({ louder: -0.5 }),
  'Control Shift ArrowUp': () => ({ contrast: 1.05 }), 'Control Shift ArrowDown': () => ({ contrast: 1 / 1.05 }),
  'Alt ArrowLeft': () => ({ later: -frameLength() }), 'Alt ArrowRight': () => ({ later: frameLength() }),
  'Control Shift ArrowRight': () => ({ longer: 1.05 }), 'Control Shift ArrowLeft': () => ({ longer: 1 / 1.05 }),
};
export function arrow(event) {
  const held = [event.ctrlKey || event.metaKey ? 'Control ' : '', event.altKey ? 'Alt ' : '', event.shiftKey ? 'Shift ' : ''].join('');
  const what = ARROWS[held + event.key];
  if (what) alter(what());
  return Boolean(what);
}
export const byFrame = (count) => alter({ later: count * frameLength() });

const onLane = () => document.activeElement?.classList.contains('lane');
addEventListener('copy', (event) => {
  const table = onLane() && copy();
  if (!table) return;
  event.clipboardData.setData('text/plain', table);
  event.preventDefault();
});
addEventListener('paste', (event) => {
  if (!onLane()) return;
  paste(event.clipboardData.getData('text/plain'));
  event.preventDefault();
});

// A curve from a sound: a file, or the mouth

// `start` is where the sound begins; what of it lies before `from` is left out.
export async function ofSound(file, start = (section() ?? [transport.seconds()])[0], from = start) {
  const track = chosenTrack();
  if (!track || !file) return;
  try {
    await save();
    const query = new URLSearchParams({ name: file.name, track: track.id, start: start.toFixed(4), from: from.toFixed(4) });
    const answer = await fetch(`/api/sounds?${query}`, { method: 'PUT', body: file });
    const told = await answer.json();
    if (!answer.ok) throw new Problem(told.error, answer.status);
  } catch (problem) {
    tell('problem', problem instanceof Problem ? problem.message : 'The sound could not be sent to the studio.');
  }
}

export function heard(job) {
  const track = state.document.tracks.find((one) => one.id === job.track);
  if (track) put(track, job.points, 0.5);
}

let recorder = null;
let asking = false; // for the microphone
export const recording = () => recorder !== null;

// Records while the video plays, until it is pressed again or the video ends.
export async function record() {
  if (recorder) {
    if (recorder.state === 'recording') recorder.stop();
    return;
  }
  if (state.media.state !== 'ready' || !chosenTrack() || asking) return;
  asking = true;
  let stream = null;
  try {
    const asIs = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: asIs });
  } catch {
    tell('problem', 'The microphone cannot be used: allow it in the browser, or choose the file of a sound.');
    return;
  } finally {
    asking = false;
  }
  const parts = [];
  const from = transport.seconds();
  let start = from;
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    for (const one of stream.getTracks()) one.stop();
    recorder = null;
    transport.stop();
    tell('recording');
    ofSound(new File(parts, 'voice.webm'), start, from);
  };
  const begins = new Promise((resolve) => { recorder.onstart = () => resolve(performance.now()); });
  recorder.start();
  tell('recording');
  const began = await begins;
  await transport.play(1);
  // The recording began a little before the video did.
  start = Math.min(transport.seconds() - (performance.now() - began) / 1000, from);
}

on('playing', () => {
  if (recorder?.state === 'recording' && !transport.playing()) recorder.stop();
});
