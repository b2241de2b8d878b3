// Frames and their names. All arithmetic is of whole numbers, but for videos whose rate varies, which have times alone.

export function frameAt(times, seconds) {
  let low = 0;
  let high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= seconds + 1e-6) low = middle;
    else high = middle - 1;
  }
  return low;
}

// A moment at which a player shows this frame and no other, whatever it rounds.
export function middleOf(times, frame, seconds) {
  const next = frame + 1 < times.length ? times[frame + 1] : Math.max(seconds, times[frame] + 0.02);
  return (times[frame] + next) / 2;
}

const pad = (value, digits = 2) => String(value).padStart(digits, '0');

const base = (rate) => Math.round(rate.numerator / rate.denominator);

// 29.97 and 59.94 frames a second leave numbers out, so that the clock on the wall is met.
export const drops = (rate) => rate.denominator === 1001 && base(rate) % 30 === 0;

export function timecode(frame, media) {
  if (media.rate.varies) return clock(media.times[frame]);
  const rate = media.rate;
  const fps = base(rate);
  let number = frame;
  if (drops(rate)) {
    const left = fps / 15; // 2 of 30, 4 of 60, each minute but every tenth
    const minute = fps * 60 - left;
    const ten = minute * 10 + left;
    const tens = Math.floor(frame / ten);
    const rest = frame % ten;
    number += left * (9 * tens + (rest < fps * 60 ? 0 : 1 + Math.floor((rest - fps * 60) / minute)));
  }
  const seconds = Math.floor(number / fps);
  const sign = drops(rate) ? ';' : ':';
  return `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}${sign}${pad(number % fps)}`;
}

export function clock(seconds) {
  const milliseconds = Math.round(seconds * 1000);
  const whole = Math.floor(milliseconds / 1000);
  return `${pad(Math.floor(whole / 3600))}:${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}.${pad(milliseconds % 1000, 3)}`;
}

// The frame that a person means: f123, 1.5 or 1:02.5 (time), 00:00:01:12 (timecode); null for anything else.
export function readTime(text, media) {
  const words = text.trim();
  const last = media.times.length - 1;
  if (/^f\d+$/i.test(words)) return Math.min(Number(words.slice(1)), last);
  const parts = words.split(/[:;]/);
  if (!words || parts.some((part) => !/^\d+(\.\d+)?$/.test(part))) return null;
  const numbers = parts.map(Number);
  if (parts.length === 4 && !media.rate.varies) {
    const [hours, minutes, seconds, frames] = numbers;
    const fps = base(media.rate);
    let frame = ((hours * 60 + minutes) * 60 + seconds) * fps + frames;
    if (drops(media.rate)) {
      const all = hours * 60 + minutes;
      frame -= (fps / 15) * (all - Math.floor(all / 10));
    }
    return Math.max(0, Math.min(frame, last));
  }
  if (parts.length > 3) return null;
  return frameAt(media.times, numbers.reduce((sum, value) => sum * 60 + value, 0));
}
