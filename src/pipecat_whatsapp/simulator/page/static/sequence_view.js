/** The call's life as a picture of three lanes: each step is an arrow from one to another. */

import { stepDetail } from "./detail_view.js";
import { byId, element } from "./element.js";
import { duration } from "./format.js";

const LANES = ["phone", "whatsapp", "bot"];
const NAMES = { phone: "Phone", whatsapp: "WhatsApp", bot: "Bot" };

/** How close to the end counts as being there, in pixels. */
const AT_END = 40;

export class SequenceView {
  #list = byId("steps");
  /** @type {number[]} When the shown steps were, in their order. */
  #times = [];

  /** @param {import("./types.js").Step[]} steps */
  show(steps) {
    const sorted = [...steps].sort((one, other) => one.at - other.at);
    this.#times = sorted.map((step) => step.at);
    this.#list.replaceChildren(...sorted.map(stepItem));
    this.#showWhetherEmpty();
  }

  /**
   * Put a step where it belongs: some are known only once they are over.
   *
   * @param {import("./types.js").Step} step
   */
  add(step) {
    const list = this.#list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < AT_END;
    const place = this.#times.findLastIndex((at) => at <= step.at) + 1;
    this.#times.splice(place, 0, step.at);
    const item = stepItem(step);
    item.classList.add("new");
    list.insertBefore(item, list.children[place] ?? null);
    this.#showWhetherEmpty();
    // Whoever scrolled back reads: the list stays there.
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  #showWhetherEmpty() {
    byId("no-steps").hidden = this.#times.length > 0;
  }
}

/**
 * @param {import("./types.js").Step} step
 * @returns {HTMLElement}
 */
function stepItem(step) {
  const item = element("li", { class: `step ${judgement(step)}` });
  if (step.detail === null) {
    item.append(element("div", { class: "row" }, ...rowOf(step)));
    return item;
  }
  const details = element("details", {}, element("summary", { class: "row" }, ...rowOf(step)));
  // Built when it is wanted: a call may have thousands of steps.
  details.addEventListener("toggle", () => details.append(stepDetail(step.detail)), { once: true });
  item.append(details);
  return item;
}

/** @param {import("./types.js").Step} step */
function judgement({ ok }) {
  if (ok === null) return "neutral";
  return ok ? "good" : "bad";
}

/**
 * @param {import("./types.js").Step} step
 * @returns {HTMLElement[]}
 */
function rowOf(step) {
  return [
    element("span", { class: "at" }, duration(step.at)),
    arrowOf(step),
    element("span", { class: "words" },
      element("span", { class: "title", dir: "auto" }, step.title),
      outcomeOf(step)),
  ];
}

/**
 * @param {import("./types.js").Step} step
 * @returns {HTMLElement}
 */
function arrowOf({ source, target }) {
  const from = LANES.indexOf(source);
  const to = LANES.indexOf(target);
  const direction = Math.sign(to - from);
  const shape = { "-1": "leftward", "0": "dot", "1": "rightward" }[direction];
  const arrow = element("span", {
    class: `arrow ${shape} from-${Math.min(from, to)} to-${Math.max(from, to)}`,
    "aria-hidden": "true",
  });
  const words = direction === 0 ? NAMES[source] : `${NAMES[source]} to ${NAMES[target]}`;
  return element("span", { class: "lanes" },
    arrow, element("span", { class: "visually-hidden" }, `${words}: `));
}

/**
 * @param {import("./types.js").Step} step
 * @returns {HTMLElement}
 */
function outcomeOf({ outcome, ok, took }) {
  const parts = element("span", { class: "outcome" });
  if (outcome !== null) {
    const sign = { true: "✓", false: "✕", null: "" }[String(ok)];
    parts.append(element("span", { class: "badge" },
      element("span", { "aria-hidden": "true" }, sign), outcome));
  }
  if (took !== null) parts.append(element("span", { class: "took" }, duration(took)));
  return parts;
}
