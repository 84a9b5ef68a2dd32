/** The sound of a call as curves over its time. */

import { byId, drawing, element } from "./element.js";
import { clock, decibels, milliseconds, percent } from "./format.js";

/** So many points are as fine as a screen shows. */
const MOST_POINTS = 300;

/** Seconds that a curve shows at least. */
const SHORTEST = 15;

/** Seconds without a value that a line still bridges. */
const LONGEST_GAP = 3;

/** The side of the square in which curves are drawn, before it is stretched, and its margin. */
const SIDE = 100;
const MARGIN = 4;

/**
 * The curves. `low` to `high` is what is always in view; a curve that goes higher has more.
 *
 * @typedef {object} Curve
 * @property {string} name
 * @property {[key: string, words: string, style: string][]} lines
 * @property {(value: number) => string} format
 * @property {number} low
 * @property {number} high
 */

const HEARD = "what you hear";
const BOT_HEARS = "what the bot hears";

/** @type {Curve[]} */
const CURVES = [
  {
    name: "Round trip",
    lines: [["round_trip", "there and back", "in"]],
    format: milliseconds, low: 0, high: 100,
  },
  {
    name: "Jitter",
    lines: [["jitter_in", HEARD, "in"], ["jitter_out", BOT_HEARS, "out"]],
    format: milliseconds, low: 0, high: 20,
  },
  {
    name: "Loss",
    lines: [["loss_in", HEARD, "in"], ["loss_out", BOT_HEARS, "out"]],
    format: percent, low: 0, high: 0.05,
  },
  {
    name: "Concealment",
    lines: [["concealed", HEARD, "in"]],
    format: percent, low: 0, high: 0.05,
  },
  {
    name: "Level",
    lines: [["level_in", HEARD, "in"], ["level_out", BOT_HEARS, "out"]],
    format: decibels, low: -90, high: 0,
  },
];

export class CurvesView {
  /** @type {import("./types.js").Sample[]} */
  #samples = [];
  #plots = CURVES.map((curve) => new Plot(curve));
  #drawn = true;

  constructor() {
    byId("curves").append(...this.#plots.map((plot) => plot.figure));
  }

  /** @param {import("./types.js").Sample[]} samples */
  show(samples) {
    this.#samples = [...samples];
    this.#draw();
  }

  /** @param {import("./types.js").Sample} sample */
  add(sample) {
    this.#samples.push(sample);
    this.#draw();
  }

  /** Draw once for whatever comes before the screen's next picture. */
  #draw() {
    if (!this.#drawn) return;
    this.#drawn = false;
    requestAnimationFrame(() => {
      this.#drawn = true;
      const span = Math.max(SHORTEST, this.#samples.at(-1)?.at ?? 0);
      byId("curves-time").textContent = `${clock(0)} – ${clock(span)}`;
      for (const plot of this.#plots) plot.draw(this.#samples, span);
    });
  }
}

/** One figure: its name, its values of now, and the picture. */
class Plot {
  #curve;
  #picture;
  #lines;
  #values;
  #top = element("span", { class: "scale-top", "aria-hidden": "true" });
  #bottom = element("span", { class: "scale-bottom", "aria-hidden": "true" });

  /** @param {Curve} curve */
  constructor(curve) {
    this.#curve = curve;
    this.#lines = curve.lines.map(([, , style]) => drawing("path", { class: `line-${style}` }));
    this.#values = curve.lines.map(([, words, style]) => {
      return element("span", { class: `value value-${style}`, title: words });
    });
    this.#picture = drawing("svg", {
      viewBox: `0 ${-MARGIN} ${SIDE} ${SIDE + 2 * MARGIN}`,
      preserveAspectRatio: "none",
      role: "img",
    }, ...this.#lines);
    this.figure = this.#build(`curve-${curve.lines[0][0]}`);
    this.draw([], SHORTEST);
  }

  /**
   * @param {import("./types.js").Sample[]} samples
   * @param {number} span Seconds from the left edge to the right.
   */
  draw(samples, span) {
    const { low, high, lines, format } = this.#curve;
    const top = Math.max(high, ...lines.map(([key]) => highest(samples, key)));
    const scale = { low, top, span };
    lines.forEach(([key], index) => {
      this.#lines[index].setAttribute("d", pathOf(thinned(samples, key), key, scale));
      const now = latest(samples, key);
      this.#values[index].textContent = now === null ? "–" : format(now);
    });
    this.#top.textContent = format(top);
    this.#bottom.textContent = format(low);
    this.#picture.setAttribute("aria-label", this.#describe(samples));
  }

  /**
   * @param {string} id
   * @returns {HTMLElement}
   */
  #build(id) {
    const caption = element("figcaption", {},
      element("span", { id, class: "curve-name" }, this.#curve.name), ...this.#values);
    const frame = element("div", { class: "plot" }, this.#top, this.#bottom, this.#picture);
    return element("figure", { class: "curve", "aria-labelledby": id }, caption, frame);
  }

  /**
   * The curve for who does not see it.
   *
   * @param {import("./types.js").Sample[]} samples
   */
  #describe(samples) {
    const { name, lines, format } = this.#curve;
    const parts = lines.flatMap(([key, words]) => {
      const now = latest(samples, key);
      if (now === null) return [];
      return [`${words}: now ${format(now)}, at most ${format(highest(samples, key))}`];
    });
    if (parts.length === 0) return `${name}: nothing measured yet`;
    return `${name} over ${clock(samples.at(-1)?.at ?? 0)}; ${parts.join("; ")}`;
  }
}

/**
 * @param {import("./types.js").Sample[]} samples
 * @param {string} key
 * @returns {number} The highest value there is.
 */
function highest(samples, key) {
  return samples.reduce((most, sample) => Math.max(most, sample[key] ?? -Infinity), -Infinity);
}

/**
 * @param {import("./types.js").Sample[]} samples
 * @param {string} key
 * @returns {number | null} The last value that is known.
 */
function latest(samples, key) {
  return samples.findLast((sample) => sample[key] !== null)?.[key] ?? null;
}

/**
 * As many samples as can be seen: of neighbours the highest, since the peaks are what matters.
 *
 * @param {import("./types.js").Sample[]} samples
 * @param {string} key
 * @returns {import("./types.js").Sample[]}
 */
function thinned(samples, key) {
  const size = Math.ceil(samples.length / MOST_POINTS);
  if (size <= 1) return samples;
  const higher = (/** @type {any} */ one, /** @type {any} */ other) => {
    return (other[key] ?? -Infinity) > (one[key] ?? -Infinity) ? other : one;
  };
  const kept = [];
  for (let start = 0; start < samples.length; start += size) {
    kept.push(samples.slice(start, start + size).reduce(higher));
  }
  return kept;
}

/**
 * @param {import("./types.js").Sample[]} samples
 * @param {string} key
 * @param {{low: number, top: number, span: number}} scale
 * @returns {string} SVG path data, with a gap where nothing is known for long.
 */
function pathOf(samples, key, { low, top, span }) {
  let path = "";
  let before = -Infinity;
  for (const { at, [key]: value } of samples) {
    if (value === null) continue;
    const x = (at / span) * SIDE;
    const y = SIDE - ((Math.max(low, value) - low) / (top - low)) * SIDE;
    const point = `${x.toFixed(2)} ${y.toFixed(2)}`;
    // The line of no length makes a point of its own visible.
    path += at - before > LONGEST_GAP ? `M${point}h0` : `L${point}`;
    before = at;
  }
  return path;
}
