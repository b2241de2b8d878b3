// Markers: set and taken away at the frame that is shown, gone to, and named on the ruler.

import { change, state, tell } from './store.js';
import { timecode } from './timecode.js';
import { frame, seekFrame } from './transport.js';

const NEAR = 7; // pixels from a marker's point
const TALL = 14; // pixels of the ruler in which it stands
const MOST = 200; // letters of a name
const field = document.getElementById('marker-name');

const at = (number) => state.document.markers.find((marker) => marker.frame === number);
const said = (marker) => `Marker${marker.name && ` ${marker.name}`} at ${timecode(marker.frame, state.media)}`;

function put(number, marker) {
  change((document) => {
    const rest = document.markers.filter((one) => one.frame !== number);
    return { ...document, markers: (marker ? [...rest, marker] : rest).sort((a, b) => a.frame - b.frame) };
  });
}

export function toggleMarker() {
  if (state.media.state !== 'ready') return;
  const number = frame();
  const there = at(number);
  put(number, there ? null : { frame: number, name: '' });
  tell('say', there ? 'No marker here' : said(at(number)));
}

export function toMarker(direction) {
  const now = frame();
  const { markers } = state.document;
  const next = direction > 0 ? markers.find((one) => one.frame > now) : markers.findLast((one) => one.frame < now);
  if (!next) return;
  seekFrame(next.frame);
  tell('say', said(next));
}

// What the ruler does with markers: a press on one goes to its frame, a double click names it. Returns what opens the field
// for the marker here, which is set where there is none.
export function markersHand(ruler, toX) {
  let named = -1;
  const under = (event) => {
    const box = ruler.getBoundingClientRect();
    if (event.clientY - box.top > TALL) return undefined;
    return state.document?.markers.find((one) => Math.abs(toX(state.media.times[one.frame]) - (event.clientX - box.left)) < NEAR);
  };
  const open = (marker) => {
    named = marker.frame;
    field.hidden = false;
    field.value = marker.name;
    const x = ruler.offsetLeft + toX(state.media.times[named]);
    field.style.left = `${Math.min(Math.max(x + 6, ruler.offsetLeft), ruler.offsetLeft + ruler.clientWidth - field.offsetWidth)}px`;
    field.select();
  };
  const close = (keep) => {
    const marker = at(named);
    const name = field.value.trim().slice(0, MOST);
    if (field.hidden) return;
    field.hidden = true;
    named = -1;
    if (keep && marker && name !== marker.name) {
      put(marker.frame, { ...marker, name });
      tell('say', said(at(marker.frame)));
    }
  };
  field.addEventListener('blur', () => close(true));
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== 'Escape') return;
    close(event.key === 'Enter');
    event.stopPropagation();
  });
  ruler.addEventListener('pointerdown', (event) => {
    const marker = under(event);
    if (!marker || event.button !== 0) return;
    event.stopImmediatePropagation();
    seekFrame(marker.frame);
  });
  ruler.addEventListener('dblclick', (event) => {
    const marker = under(event);
    if (marker) open(marker);
  });
  return () => {
    if (state.media.state !== 'ready') return;
    if (!at(frame())) toggleMarker();
    open(at(frame()));
  };
}
