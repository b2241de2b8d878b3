// How much of the page is picture and how much tracks, and how high a track is: the browser keeps what a person set.

import { tell } from './store.js';

const studio = document.getElementById('studio');
const bar = document.getElementById('split');
const rows = document.getElementById('rows');
const low = document.getElementById('low');
const [LEAST, PICTURE, STEP] = [160, 226, 24];

const height = () => document.getElementById('timeline').offsetHeight;

function setHeight(pixels) {
  const most = Math.max(studio.clientHeight - PICTURE, LEAST);
  const whole = Math.round(Math.min(Math.max(pixels, LEAST), most));
  studio.style.setProperty('--timeline', `${whole}px`);
  bar.setAttribute('aria-valuenow', whole);
  bar.setAttribute('aria-valuemax', most);
  localStorage.setItem('timeline', whole);
}

bar.addEventListener('pointerdown', (event) => {
  bar.setPointerCapture(event.pointerId);
  const [from, was] = [event.clientY, height()];
  bar.onpointermove = (moved) => setHeight(was + from - moved.clientY);
  bar.onpointerup = bar.onpointercancel = () => { bar.onpointermove = null; };
});
bar.addEventListener('keydown', (event) => {
  const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (way) setHeight(height() + way * STEP);
});
bar.addEventListener('dblclick', () => {
  studio.style.removeProperty('--timeline');
  localStorage.removeItem('timeline');
});

export function setLow(is) {
  rows.classList.toggle('low', is);
  low.setAttribute('aria-pressed', is);
  localStorage.setItem('low', is ? 'on' : '');
}
export const toggleLow = () => {
  setLow(!rows.classList.contains('low'));
  tell('say', rows.classList.contains('low') ? 'Low tracks' : 'High tracks');
};
low.addEventListener('click', toggleLow);

setLow(localStorage.getItem('low') === 'on');
const kept = Number(localStorage.getItem('timeline'));
if (kept) studio.style.setProperty('--timeline', `${kept}px`);
