// The dialog that exports what is heard: in which form, from which timecode on, and where it lies.

import { Problem, sendJson } from './api.js';
import { change, save, state } from './store.js';
import { drops } from './timecode.js';

const $ = (id) => document.getElementById(id);
const paragraph = (words, className = '') => Object.assign(document.createElement('p'), { textContent: words, className });

function open() {
  const heard = state.document.tracks.filter((track) => track.take).length;
  $('export-words').textContent = 'Mix and stems as broadcast .wav, the picture with the mix (.mp4), lists for other programs (OTIO, EDL, markers), and what '
    + 'renders the same again with “drawaudio mix”: tracks.json, masks, curves. '
    + `${heard} of ${state.document.tracks.length} tracks have a take. `
    + 'What the model makes ends at 8 kHz, whatever the rate is. What its weights may be used for stands in manifest.json.';
  const { sample_rate: rate, bits, timecode } = state.document.delivery;
  if (![...$('export-rate').options].some((one) => Number(one.value) === rate)) $('export-rate').append(new Option(`${rate / 1000} kHz`, rate));
  $('export-rate').value = rate;
  $('export-bits').value = bits;
  $('export-timecode').value = timecode ?? '';
  $('export-timecode').placeholder = state.media.rate && drops(state.media.rate) ? '00:00:00;00' : '00:00:00:00';
  $('export-done').replaceChildren();
  $('export').showModal();
}

async function write() {
  $('export-go').disabled = true;
  $('export-done').replaceChildren(paragraph('Writing…'));
  const delivery = {
    sample_rate: Number($('export-rate').value), bits: Number($('export-bits').value), timecode: $('export-timecode').value.trim() || null,
  };
  try {
    const before = state.document.delivery;
    if (Object.keys(delivery).some((name) => delivery[name] !== before[name])) change((document) => ({ ...document, delivery }));
    await save();
    show(await sendJson('POST', '/api/exports', delivery));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    $('export-done').replaceChildren(paragraph(problem.message, 'bad'));
  }
  $('export-go').disabled = false;
}

function show({ folder, files, notices }) {
  const list = document.createElement('ul');
  const names = files.filter((name) => !name.startsWith('masks/'));
  list.append(...names.map((name) => Object.assign(document.createElement('li'), { textContent: name })));
  const said = notices.map((sentence) => paragraph(sentence, 'quiet'));
  $('export-done').replaceChildren(paragraph('Everything lies in'), paragraph(folder, 'path'), list, ...said);
}

$('export-open').addEventListener('click', open);
$('export-close').addEventListener('click', () => $('export').close());
$('export-go').addEventListener('click', write);
