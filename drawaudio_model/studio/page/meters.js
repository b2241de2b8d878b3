// Peak levels while it plays: of each track from its take and gain, and of the mix from its very samples, the louder side.

import { soundOf, metersOf } from './timeline.js';
import { on, state } from './store.js';
import * as transport from './transport.js';

const LOWEST = -60;
const SPAN = 0.05; // seconds that are looked at
const FALL = 26; // decibels a second, as a peak programme meter falls
const main = document.getElementById('meter');
const words = document.getElementById('meter-words');
const shown = new Map(); // element -> dB
let before = 0;
let limited = 0;

const decibels = (amplitude) => (amplitude > 0 ? 20 * Math.log10(amplitude) : -Infinity);

function show(element, level, passed) {
  const fallen = Math.max(level, (shown.get(element) ?? LOWEST) - FALL * passed, LOWEST);
  const value = Math.min(fallen, 0);
  if (shown.get(element) === value) return;
  shown.set(element, value);
  element.style.setProperty('--level', String(1 - value / LOWEST));
  element.setAttribute('aria-valuenow', value.toFixed(0));
  element.setAttribute('aria-valuetext', value <= LOWEST ? 'silent' : `${value.toFixed(0)} dB`);
}

function takeLevel(track, solos, at) {
  const peaks = soundOf(track.take)?.peaks;
  if (!peaks || (solos ? !track.solo : track.mute)) return -Infinity;
  let peak = 0;
  for (let place = Math.max(Math.floor((at - SPAN) * 100), 0); place <= at * 100 && 2 * place + 1 < peaks.length; place += 1) {
    peak = Math.max(peak, -peaks[2 * place], peaks[2 * place + 1]);
  }
  return decibels(peak / 127) + track.gain_db;
}

function mixLevel(at) {
  const samples = transport.samplesHeard();
  if (!samples) return -Infinity;
  let peak = 0;
  const { channels, rate, gain } = samples;
  for (const values of channels) {
    for (let place = Math.max(Math.floor((at - SPAN) * rate), 0); place < at * rate && place < values.length; place += 1) {
      peak = Math.max(peak, Math.abs(values[place]));
    }
  }
  return decibels(peak * gain);
}

function draw() {
  if (!state.document) return;
  const now = performance.now();
  const passed = Math.min((now - before) / 1000, 0.25);
  before = now;
  const going = transport.speed() === 1;
  const at = transport.seconds();
  const solos = state.document.tracks.some((track) => track.solo);
  for (const [id, element] of metersOf()) {
    const track = state.document.tracks.find((one) => one.id === id);
    if (track) show(element, going ? takeLevel(track, solos, at) : -Infinity, going ? passed : 9);
  }
  show(main, going ? mixLevel(at) : -Infinity, going ? passed : 9);
}

on('moved', draw);
on('playing', draw);
on('mix', (found) => {
  limited = found?.limited ?? 0;
  words.textContent = limited > 0.05 ? `limited by ${limited.toFixed(1)} dB` : '';
});
