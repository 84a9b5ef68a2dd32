/** Sentences for the user that belong to no other place. */

import { element } from "./element.js";

const SHOWN_FOR = 15_000;
const MOST = 3;

export class Notices {
  #list;
  /** @type {Map<string, HTMLElement>} By their text, so that none is there twice. */
  #shown = new Map();

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
  }

  /**
   * Show a sentence for a while.
   *
   * @param {string} text
   */
  show(text) {
    const notice = this.#add(text);
    setTimeout(() => {
      // One that was said again stays for its own time.
      if (this.#shown.get(text) === notice) this.remove(text);
    }, SHOWN_FOR);
  }

  /**
   * Show a sentence until it is removed.
   *
   * @param {string} text
   */
  keep(text) {
    this.#add(text);
  }

  /** @param {string} text */
  remove(text) {
    this.#shown.get(text)?.remove();
    this.#shown.delete(text);
  }

  /**
   * @param {string} text
   * @returns {HTMLElement}
   */
  #add(text) {
    this.remove(text);
    const dismiss = element("button", { type: "button", class: "plain" }, "Dismiss");
    const words = element("p", { dir: "auto" }, text);
    const notice = element("div", { class: "notice" }, words, dismiss);
    dismiss.addEventListener("click", () => this.remove(text));
    this.#shown.set(text, notice);
    this.#list.append(notice);
    const [oldest] = this.#shown.keys();
    if (this.#shown.size > MOST) this.remove(oldest);
    return notice;
  }
}
