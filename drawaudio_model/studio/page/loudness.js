// Loudness of a sound as ITU-R BS.1770-4 has it, in LUFS: so that of two takes neither wins for being louder.

const RATE = 48000; // the filters' numbers are the standard's, which are those of this rate
const SHELF = [[1.53512485958697, -2.69169618940638, 1.19839281085285], [1, -1.69065929318241, 0.73248077421585]];
const HIGH_PASS = [[1, -2, 1], [1, -1.99004745483398, 0.99007225036621]];
const BLOCK = 0.4 * RATE;

const decibels = (power) => -0.691 + 10 * Math.log10(power);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Of a sound's file; -Infinity for one that is silent, or shorter than a block.
export async function loudness(bytes) {
  // Decoding brings it to the filters' rate; a source of another rate would be joined by straight lines, and lose its highs.
  const buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes.slice());
  const offline = new OfflineAudioContext(1, buffer.length, RATE);
  const source = new AudioBufferSourceNode(offline, { buffer });
  const [shelf, pass] = [SHELF, HIGH_PASS].map(([feedforward, feedback]) => new IIRFilterNode(offline, { feedforward, feedback }));
  source.connect(shelf).connect(pass).connect(offline.destination);
  source.start();
  const samples = (await offline.startRendering()).getChannelData(0);
  const powers = [];
  for (let start = 0; start + BLOCK <= samples.length; start += BLOCK / 4) {
    let sum = 0;
    for (let place = start; place < start + BLOCK; place += 1) sum += samples[place] ** 2;
    powers.push(sum / BLOCK);
  }
  const audible = powers.filter((power) => decibels(power) > -70);
  if (!audible.length) return -Infinity;
  const gate = decibels(mean(audible)) - 10;
  return decibels(mean(audible.filter((power) => decibels(power) > gate)));
}
