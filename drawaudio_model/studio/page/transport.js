// Playing: the mix is the clock, the silent picture follows it; at rest exactly the frame that is named is shown.

import { ask } from './api.js';
import { frameAt, middleOf } from './timecode.js';
import { on, state, tell } from './store.js';

const video = document.getElementById('video');
const RATE = 16000; // of all that the model makes, and of the original sound as it is prepared
let context = null;
let sources = [];
let started = null; // { at: time of the context, from: seconds } while sound plays
let mix = null; // AudioBuffer
let instead = null; // { buffer, gain } that is heard in its place
let original = null;
let mixMark = '';
let originalMark = '';
let mixing = null;
let current = 0; // frame at rest
let rate = 0; // 0 at rest; 1, 2, 4 forward; -1, -2, -4 back
let backwards = null;
export const drifts = []; // seconds that the picture was ahead of the sound, for the last frames shown

export const playing = () => rate !== 0;
export const frame = () => (playing() ? frameAt(state.media.times, seconds()) : current);

export function seconds() {
  if (!playing()) return state.media.times?.[current] ?? 0;
  if (rate < 0) return state.media.times[current];
  if (started) return Math.min(started.from + heard() - started.at, state.media.seconds);
  return video.currentTime;
}

// The moment of the context's clock that is heard now: what was given to the sound card is heard later.
const heard = () => context.currentTime - (context.outputLatency || context.baseLatency || 0);

export function seekFrame(number) {
  if (state.media.state !== 'ready') return;
  const speed = rate;
  if (playing()) stop(false);
  current = Math.min(Math.max(number, 0), state.media.times.length - 1);
  if (speed) play(speed);
  else video.currentTime = middleOf(state.media.times, current, state.media.seconds);
  tell('moved');
}

export const seek = (time) => seekFrame(frameAt(state.media.times, Math.max(time, 0)));
export const step = (count) => {
  if (playing()) stop();
  seekFrame(current + count);
};

export function toggle() {
  if (playing()) stop();
  else play(1);
}

export async function play(speed = 1) {
  if (state.media.state !== 'ready') return;
  if (playing()) stop(false);
  if (speed > 0 && current >= state.media.times.length - 1) current = 0;
  rate = speed;
  const from = state.media.times[current];
  tell('playing');
  if (speed < 0) {
    shuttleBack(from);
    return;
  }
  video.currentTime = Math.min(from + 1e-3, state.media.seconds);
  video.playbackRate = speed;
  if (speed === 1) await startSound(from);
  if (started) await untilHeard();
  if (rate !== speed) return; // stopped meanwhile
  await video.play().catch(() => {});
  tell('moved');
  follow();
}

// The sound is heard a little after it was asked for; the picture begins with it, and needs a moment to begin itself.
function untilHeard() {
  const wait = started.at - heard() - PICTURE_BEGINS;
  return new Promise((resolve) => { setTimeout(resolve, Math.max(wait, 0) * 1000); });
}

export function stop(settle = true) {
  if (!playing()) return;
  const at = seconds();
  cancelAnimationFrame(backwards);
  silence();
  video.pause();
  rate = 0;
  if (settle) {
    current = frameAt(state.media.times, at);
    video.currentTime = middleOf(state.media.times, current, state.media.seconds);
  } else {
    current = frameAt(state.media.times, at);
  }
  tell('playing');
  tell('moved');
}

// J and L: again for faster, the other one for slower.
export function shuttle(direction) {
  const faster = Math.sign(rate) === direction ? direction * Math.min(Math.abs(rate) * 2, 4) : direction;
  stop(false);
  play(faster);
}

export const speed = () => rate;

function shuttleBack(from) {
  const began = performance.now();
  const back = () => {
    if (rate >= 0) return;
    const at = from + ((performance.now() - began) / 1000) * rate;
    current = frameAt(state.media.times, Math.max(at, 0));
    video.currentTime = middleOf(state.media.times, current, state.media.seconds);
    tell('moved');
    if (at <= 0) {
      rate = 0;
      tell('playing');
      return;
    }
    backwards = requestAnimationFrame(back);
  };
  // While it runs back, the place is `current`, not the video's, which may still be seeking.
  back();
}

function follow() {
  const tick = () => {
    if (rate <= 0) return;
    tell('moved');
    if (seconds() >= state.media.seconds - 0.02 || video.ended) {
      stop();
      return;
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

const PICTURE_BEGINS = 0.02; // seconds from a player's start to its first new frame
const UNSEEN = 0.005; // seconds; a smaller difference is left alone
const MOST_NUDGE = 0.1; // of the rate

// The picture keeps up with the sound: a little faster or slower the further they are apart, a seek beyond two frames.
function keepUp(now, shown) {
  video.requestVideoFrameCallback(keepUp);
  if (!started || rate !== 1 || video.seeking) return;
  const length = state.media.rate.denominator / state.media.rate.numerator;
  const wait = Math.max(shown.expectedDisplayTime - performance.now(), 0) / 1000;
  const ahead = shown.mediaTime - (started.from + heard() + wait - started.at);
  drifts.push(ahead);
  if (drifts.length > 2000) drifts.shift();
  if (Math.abs(ahead) > 2 * length) {
    video.currentTime = Math.min(seconds() + 0.02, state.media.seconds);
    video.playbackRate = 1;
  } else {
    video.playbackRate = Math.abs(ahead) > UNSEEN ? 1 - Math.min(Math.max(3 * ahead, -MOST_NUDGE), MOST_NUDGE) : 1;
  }
}
video.requestVideoFrameCallback(keepUp);

function silence() {
  for (const source of sources) source.stop();
  sources = [];
  started = null;
}

async function startSound(from) {
  await mixing;
  const original = await theOriginal();
  if (!mix && !original && !instead) return;
  // At the mix's own rate, sample for sample: a source of another rate is joined by straight lines, which takes 2 dB at 4 kHz.
  context ??= new AudioContext({ latencyHint: 'interactive', sampleRate: RATE });
  await context.resume();
  if (rate !== 1) return;
  begin(from, context.currentTime + 0.06, original);
}

function begin(from, at, withOriginal) {
  silence();
  const own = instead ? [instead.buffer, 10 ** (instead.gain / 20)] : [mix, 1];
  for (const [buffer, gain] of [own, [withOriginal, 10 ** (state.document.original.gain_db / 20)]]) {
    if (!buffer || from >= buffer.duration) continue;
    const source = new AudioBufferSourceNode(context, { buffer });
    const level = new GainNode(context, { gain });
    source.connect(level).connect(context.destination);
    source.start(at, from);
    sources.push(source);
  }
  started = { at, from };
}

async function theOriginal() {
  if (state.document.original.mute || !state.media.sound) return null;
  original ??= bufferOf(await (await ask('GET', '/media/sound.wav')).arrayBuffer());
  return original;
}

// A .wav of 32-bit floats, of one channel or two: what was sent is played, sample for sample.
export function bufferOf(bytes) {
  const view = new DataView(bytes);
  let place = 12;
  let [rate, channels] = [RATE, 1];
  while (place + 8 <= view.byteLength) {
    const name = String.fromCharCode(...new Uint8Array(bytes, place, 4));
    const size = view.getUint32(place + 4, true);
    if (name === 'fmt ') [channels, rate] = [view.getUint16(place + 10, true), view.getUint32(place + 12, true)];
    if (name === 'data') {
      const samples = new Float32Array(bytes.slice(place + 8, place + 8 + size));
      const buffer = new AudioBuffer({ length: samples.length / channels, numberOfChannels: channels, sampleRate: rate });
      for (let channel = 0; channel < channels; channel += 1) {
        const own = channels === 1 ? samples : new Float32Array(buffer.length); // left, right, left, ...
        for (let place = 0; channels > 1 && place < own.length; place += 1) own[place] = samples[place * channels + channel];
        buffer.copyToChannel(own, channel);
      }
      return buffer;
    }
    place += 8 + size + (size % 2);
  }
  throw new Error('the sound has no samples');
}

// What decides the mix: its tracks' takes, gains, pans and who is heard.
function markOf(document) {
  const solos = document.tracks.some((track) => track.solo);
  const heardTracks = document.tracks.filter((track) => track.take && (solos ? track.solo : !track.mute));
  return JSON.stringify(heardTracks.map((track) => [track.take, track.gain_db, track.pan]));
}

export function refreshMix() {
  if (!state.document) return;
  const others = JSON.stringify(state.document.original);
  if (others !== originalMark) {
    originalMark = others;
    soundAgain();
  }
  const mark = markOf(state.document);
  if (mark === mixMark) return;
  mixMark = mark;
  const made = (async () => {
    if (mark === '[]') return null;
    const answer = await ask('POST', '/api/mix', { body: state.document });
    const limited = Number(answer.headers.get('x-limited-db'));
    return { buffer: bufferOf(await answer.arrayBuffer()), limited };
  })();
  mixing = made.then((found) => {
    if (mark !== mixMark) return; // changed again meanwhile
    mix = found?.buffer ?? null;
    tell('mix', found);
    soundAgain();
  }, (problem) => {
    mixMark = '';
    tell('problem', problem.message);
  });
}

// What is heard has changed while it plays: it goes on from here.
async function soundAgain() {
  if (rate !== 1) return;
  if (!context) {
    await startSound(video.currentTime);
    return;
  }
  const sound = await theOriginal();
  const at = context.currentTime + 0.03;
  if (rate === 1) begin(started ? started.from + at - started.at : video.currentTime, at, sound);
}

let waiting = null;
on('document', () => {
  clearTimeout(waiting);
  waiting = setTimeout(refreshMix, 120);
});

export const rateOfSpeakers = () => context?.sampleRate ?? null;
export const sounding = () => sources.length;
export const mixed = () => mix;
export const samplesOfMix = () => mix?.getChannelData(0) ?? null;
// What the meter looks at: the samples of each channel that are played beside the original sound.
export function samplesHeard() {
  const buffer = instead?.buffer ?? mix;
  return buffer && { channels: Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel)), rate: buffer.sampleRate, gain: instead ? 10 ** (instead.gain / 20) : 1 };
}

// One sound in place of the mix, at a gain in decibels; null: the mix again.
export function audition(buffer, gain = 0) {
  instead = buffer && { buffer, gain };
  soundAgain();
}
