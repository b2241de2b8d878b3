// Two takes of a track, one after the other at the same moment and at equal loudness: the louder one is turned down.

import { ask } from './api.js';
import { loudness } from './loudness.js';
import { chosenTrack, on, state, tell } from './store.js';
import * as transport from './transport.js';

const MOST_KEPT = 8;
const known = new Map(); // take id -> { buffer, level }
let pair = null; // { track, takes: [first, second], heard: 0 or 1, cuts: [dB, dB] }

export const compared = () => pair;

async function sound(id) {
  if (!known.has(id)) {
    const bytes = await (await ask('GET', `/api/takes/${id}/wav`)).arrayBuffer();
    known.set(id, { buffer: transport.bufferOf(bytes), level: await loudness(bytes) });
    if (known.size > MOST_KEPT) known.delete(known.keys().next().value);
  }
  return known.get(id);
}

// The take that is used, and this one.
export async function compare(id) {
  const track = chosenTrack();
  if (!track?.take || track.take === id) return;
  try {
    const [first, second] = [await sound(track.take), await sound(id)];
    const quieter = Math.min(first.level, second.level);
    const cuts = [first, second].map(({ level }) => (Number.isFinite(quieter) ? quieter - level : 0));
    pair = { track: track.id, takes: [track.take, id], heard: 1, cuts };
    await hear(1);
  } catch (problem) {
    tell('problem', problem.message);
  }
}

export async function hear(which) {
  if (!pair) return;
  pair = { ...pair, heard: which };
  const { buffer } = await sound(pair.takes[which]);
  transport.audition(buffer, pair.cuts[which]);
  const cut = pair.cuts[which] < -0.05 ? `, ${(-pair.cuts[which]).toFixed(1)} dB softer` : '';
  tell('say', `Take ${which ? 'B' : 'A'} is heard${cut}`);
  tell('compared');
}

export const swap = () => pair && hear(1 - pair.heard);

export function endComparing() {
  if (!pair) return;
  pair = null;
  transport.audition(null);
  tell('compared');
}

on('chosen', endComparing);
on('document', () => {
  if (pair && !state.document.tracks.some((track) => track.id === pair.track && pair.takes.includes(track.take))) endComparing();
});
