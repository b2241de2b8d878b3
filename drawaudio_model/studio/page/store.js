// The document, its history and its saving. A document is never changed in place: a change makes a new one that shares
// with the old whatever stayed the same, so that 200 steps of undo hold no stroke twice.

import { ask } from './api.js';

const MOST_STEPS = 200;
const SAVE_AFTER = 1000;
const ONE_CHANGE = 1200; // changes of one field within this time, in milliseconds, are undone together

export const state = {
  document: null,
  takes: new Map(),
  media: { state: 'none' },
  jobs: new Map(),
  model: '',
  track: null, // id of the chosen track
};

let revision = 0;
let past = [];
let future = [];
let lastKey = null;
let lastTime = 0;
let timer = null;
let saving = null;
let dirty = false;
let stopped = false;
const listeners = new Map();

export function on(kind, listener) {
  listeners.set(kind, [...(listeners.get(kind) ?? []), listener]);
}

export function tell(kind, detail) {
  for (const listener of listeners.get(kind) ?? []) listener(detail);
}

export function load(document) {
  revision = document.revision;
  state.document = document;
  past = [];
  future = [];
  if (!document.tracks.some((track) => track.id === state.track)) state.track = document.tracks[0]?.id ?? null;
}

// One step of the history; steps with the same `key` that follow at once become one.
export function change(make, key = null) {
  const next = make(state.document);
  if (next === state.document) return;
  const now = performance.now();
  if (!(key && key === lastKey && now - lastTime < ONE_CHANGE)) {
    past.push(state.document);
    if (past.length > MOST_STEPS) past.shift();
  }
  lastKey = key;
  lastTime = now;
  future = [];
  put(next);
}

export function changeTrack(id, patch, key = null) {
  change((document) => ({
    ...document,
    tracks: document.tracks.map((track) => (track.id === id ? { ...track, ...patch } : track)),
  }), key && `${id} ${key}`);
}

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

export function undo() {
  if (!past.length) return;
  future.push(state.document);
  lastKey = null;
  put(past.pop());
}

export function redo() {
  if (!future.length) return;
  past.push(state.document);
  lastKey = null;
  put(future.pop());
}

function put(document) {
  state.document = document;
  if (!document.tracks.some((track) => track.id === state.track)) state.track = document.tracks[0]?.id ?? null;
  dirty = true;
  clearTimeout(timer);
  timer = setTimeout(save, SAVE_AFTER);
  tell('saved', 'Changed');
  tell('document');
}

// Saves what is there now; waits for a save that is under way.
export async function save() {
  clearTimeout(timer);
  while (saving) await saving;
  if (!dirty || stopped) return;
  dirty = false;
  tell('saved', 'Saving…');
  saving = (async () => {
    try {
      const body = { ...state.document, revision };
      const answer = await ask('PUT', '/api/project', { body, headers: { 'if-match': String(revision) } });
      revision = (await answer.json()).revision;
      tell('saved', dirty ? 'Changed' : 'Saved');
    } catch (problem) {
      dirty = true;
      if (problem.status === 409) stopped = true;
      else timer = setTimeout(save, 5 * SAVE_AFTER);
      tell('saved', 'Not saved');
      tell('problem', problem.message);
    } finally {
      saving = null;
    }
  })();
  await saving;
}

// The page goes away: what is not saved yet is sent without waiting for an answer. A browser lets no more than 64 kB go so:
// of a larger document the person is asked to wait.
const MOST_AT_ONCE = 60_000;
const unsaved = () => ({ ...state.document, revision: revision + Number(saving !== null) });
export function saveAtOnce() {
  if (!dirty || stopped) return;
  const body = unsaved();
  ask('PUT', '/api/project', { body, headers: { 'if-match': String(body.revision) }, keepalive: true }).catch(() => {});
}
export function holdBack(event) {
  if (!dirty || stopped || JSON.stringify(unsaved()).length < MOST_AT_ONCE) return;
  save();
  event.preventDefault();
}

export const chosenTrack = () => state.document?.tracks.find((track) => track.id === state.track) ?? null;

export function choose(id) {
  if (state.track === id) return;
  state.track = id;
  tell('chosen');
}

export function newTrack() {
  const used = new Set(state.document.tracks.map((track) => track.id));
  let number = state.document.tracks.length + 1;
  while (used.has(`track${number}`)) number += 1;
  const id = `track${number}`;
  const track = {
    id, text: '', negative_text: '', mask: null, curve: null, strictness: null, seed: null, count: 1, gain_db: 0, pan: 0, mute: false, solo: false,
    take: null, starred: [], notes: {},
  };
  change((document) => ({ ...document, tracks: [...document.tracks, track] }));
  choose(id);
}

export function removeTrack(id) {
  change((document) => ({ ...document, tracks: document.tracks.filter((track) => track.id !== id) }));
}

export const takesOf = (id) => [...state.takes.values()].filter((take) => take.track === id);
