/** The phone's own sounds: keys and ringing. Only the user hears them; the call does not. */

import { maySound, soundContext } from "./sound_context.js";

/** Hertz of the rows and columns of a keypad (ITU-T Q.23). */
const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477];
const KEYS = ["123", "456", "789", "*0#"];

const KEY_SECONDS = 0.14;
const KEY_LOUDNESS = 0.06;

/**
 * The patterns of ringing: notes as [start, seconds, hertz], and after how many seconds they begin
 * again.
 */
const RINGS = {
  incoming: {
    notes: [[0, 0.5, 659], [0.18, 0.5, 784], [0.36, 0.9, 988], [1.0, 0.9, 784]],
    every: 3000,
    loudness: 0.07,
  },
  outgoing: { notes: [[0, 1.0, 425]], every: 4000, loudness: 0.02 },
};

/**
 * Sound a key.
 *
 * @param {string} key 0-9, * or #.
 */
export function playKey(key) {
  const row = KEYS.findIndex((keys) => keys.includes(key));
  const column = KEYS[row].indexOf(key);
  for (const hertz of [ROWS[row], COLUMNS[column]]) {
    playNote(soundContext().destination, [0, KEY_SECONDS, hertz], KEY_LOUDNESS);
  }
}

/** Rings until it is stopped. */
export class Ringer {
  /** @type {number | undefined} */
  #timer;
  /** @type {GainNode | null} */
  #output = null;

  /** @param {"incoming" | "outgoing"} kind */
  start(kind) {
    this.stop();
    const { notes, every, loudness } = RINGS[kind];
    const ring = () => {
      if (!maySound()) return;
      this.#output ??= openOutput();
      for (const note of notes) playNote(this.#output, note, loudness);
    };
    ring();
    this.#timer = setInterval(ring, every);
  }

  /** Be silent at once, even in the middle of a note. */
  stop() {
    clearInterval(this.#timer);
    this.#output?.disconnect();
    this.#output = null;
  }
}

/** @returns {GainNode} */
function openOutput() {
  const output = soundContext().createGain();
  output.connect(soundContext().destination);
  return output;
}

/**
 * @param {AudioNode} output
 * @param {number[]} note Start, seconds, hertz.
 * @param {number} loudness
 */
function playNote(output, [start, seconds, hertz], loudness) {
  const context = soundContext();
  const begin = context.currentTime + start;
  const gain = context.createGain();
  // A ramp at both ends: a tone that starts at full height clicks.
  gain.gain.setValueAtTime(0, begin);
  gain.gain.linearRampToValueAtTime(loudness, begin + 0.01);
  gain.gain.setValueAtTime(loudness, begin + seconds - 0.03);
  gain.gain.linearRampToValueAtTime(0, begin + seconds);
  const oscillator = new OscillatorNode(context, { frequency: hertz });
  oscillator.connect(gain).connect(output);
  oscillator.start(begin);
  oscillator.stop(begin + seconds);
}
