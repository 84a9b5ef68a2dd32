/** How loud a stream of sound is, for the eye. */

import { soundContext } from "./sound_context.js";

const INTERVAL = 80;

/** Decibels of full scale that count as nothing. */
const SILENCE = -60;

/**
 * Follow a stream's level.
 *
 * @param {MediaStream} stream
 * @param {(level: number) => void} show Is told the level, 0 to 1, a dozen times a second.
 * @returns {() => void} Ends it, and shows 0.
 */
export function followLevel(stream, show) {
  const context = soundContext();
  const source = context.createMediaStreamSource(stream);
  const analyser = new AnalyserNode(context, { fftSize: 2048 });
  const waveform = new Float32Array(analyser.fftSize);
  source.connect(analyser);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(waveform);
    show(levelOf(waveform));
  }, INTERVAL);
  return () => {
    clearInterval(timer);
    source.disconnect();
    show(0);
  };
}

/**
 * @param {Float32Array} waveform
 * @returns {number} 0 to 1, even to the ear.
 */
function levelOf(waveform) {
  let peak = 0;
  for (const value of waveform) peak = Math.max(peak, Math.abs(value));
  const decibels = 20 * Math.log10(Math.max(peak, 1e-6));
  return Math.min(1, Math.max(0, 1 - decibels / SILENCE));
}
