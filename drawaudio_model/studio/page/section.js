// The section: a stretch of the video, from frame to frame, that is made anew alone; and the hand that draws it on the ruler.

import { Problem, sendJson } from './api.js';
import { rounded } from './curve.js';
import { change, chosenTrack, save, state, tell } from './store.js';
import { frame } from './transport.js';

const NEAR = 7; // pixels from an end that is taken hold of
const STILL = 4; // pixels within which a press is no drag

export const section = () => state.document?.section ?? null;

export function setSection(from, to, key = null) {
  const ends = [from, to].map((time) => rounded(Math.min(Math.max(time, 0), state.media.seconds), 4)).sort((a, b) => a - b);
  if (ends[0] === ends[1]) return;
  change((document) => ({ ...document, section: ends }), key);
  tell('say', `Section from ${ends[0].toFixed(2)} to ${ends[1].toFixed(2)} seconds`);
}

export function clearSection() {
  if (section()) change((document) => ({ ...document, section: null }));
}

// The frame that is shown becomes the first, or the last.
export function setEnd(last) {
  const { times, seconds } = state.media;
  if (state.media.state !== 'ready') return;
  const [start, end] = section() ?? [0, seconds];
  const at = last ? times[frame() + 1] ?? seconds : times[frame()];
  if (last) setSection(at > start ? start : 0, at);
  else setSection(at, at < end ? end : seconds);
}

export async function regenerate() {
  const track = chosenTrack();
  if (!track) return;
  if (!section()) {
    tell('problem', 'There is no section yet: drag over the ruler, or set its ends with I and O.');
    return;
  }
  if (!track.take) {
    tell('problem', 'The track has no take yet: generate one, then a section of it can be made anew.');
    return;
  }
  try {
    await save();
    const job = await sendJson('POST', '/api/jobs', { track: track.id, do: 'regenerate', section: section() });
    if (!state.jobs.has(job.id)) state.jobs.set(job.id, job);
    tell('jobs');
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    tell('problem', problem.message);
  }
}

// A press on the ruler goes there; a drag draws a section, or moves the end that is under the hand.
export function rulerHand(ruler, timeAt, toX, snapped, goTo) {
  ruler.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || state.media.state !== 'ready') return;
    ruler.setPointerCapture(event.pointerId);
    const x = event.clientX - ruler.getBoundingClientRect().left;
    const held = section()?.findIndex((end) => Math.abs(toX(end) - x) < NEAR) ?? -1;
    const from = held < 0 ? snapped(timeAt(ruler, event), event.altKey) : section()[1 - held];
    const key = `section ${performance.now()}`;
    let drags = false;
    ruler.onpointermove = (moved) => {
      drags ||= Math.abs(moved.clientX - event.clientX) >= STILL;
      if (drags) setSection(from, snapped(timeAt(ruler, moved), moved.altKey), key);
    };
    ruler.onpointerup = ruler.onpointercancel = (last) => {
      ruler.onpointermove = ruler.onpointerup = ruler.onpointercancel = null;
      if (!drags && last.type === 'pointerup') goTo(Math.min(Math.max(timeAt(ruler, event), 0), state.media.seconds));
    };
  });
  ruler.addEventListener('pointermove', (event) => {
    const x = event.clientX - ruler.getBoundingClientRect().left;
    ruler.style.cursor = section()?.some((end) => Math.abs(toX(end) - x) < NEAR) ? 'ew-resize' : '';
  });
}
