/** The particulars of a step: its JSON, and texts of several lines as such. */

import { element } from "./element.js";

const ELSEWHERE = "(below)";

/**
 * @param {object} detail
 * @returns {HTMLElement}
 */
export function stepDetail(detail) {
  /** @type {[string, string][]} */
  const texts = [];
  const shown = pullOut(detail, "", texts);
  const blocks = texts.map(([path, text]) => block(path, text));
  return element("div", { class: "detail" },
    block("", JSON.stringify(shown, null, 2)), ...blocks);
}

/**
 * Take the texts of several lines, such as SDP, out of a value: in JSON nobody can read them.
 *
 * @param {any} value
 * @param {string} path Where it stands in the whole.
 * @param {[string, string][]} texts Gets the paths and the texts.
 * @returns {any} The value without them.
 */
function pullOut(value, path, texts) {
  if (typeof value === "string" && /\n./.test(value)) {
    texts.push([path, value]);
    return ELSEWHERE;
  }
  if (Array.isArray(value)) {
    return value.map((part, index) => pullOut(part, `${path}[${index}]`, texts));
  }
  if (typeof value !== "object" || value === null) return value;
  const parts = Object.entries(value).map(([key, part]) => {
    return [key, pullOut(part, path === "" ? key : `${path}.${key}`, texts)];
  });
  return Object.fromEntries(parts);
}

/**
 * @param {string} heading
 * @param {string} text
 * @returns {HTMLElement}
 */
function block(heading, text) {
  // Reachable by keyboard, because it scrolls.
  const code = element("pre", { tabindex: "0" }, text);
  return heading === "" ? code : element("div", {}, element("p", { class: "path" }, heading), code);
}
