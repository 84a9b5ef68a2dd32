/** The keypad: by finger, and by the keyboard while a call is up. */

import { byId, element } from "./element.js";
import { playKey } from "./tones.js";

/** What stands on each key, and the letters under it. */
const KEYS = [
  ["1", ""], ["2", "ABC"], ["3", "DEF"],
  ["4", "GHI"], ["5", "JKL"], ["6", "MNO"],
  ["7", "PQRS"], ["8", "TUV"], ["9", "WXYZ"],
  ["*", ""], ["0", "+"], ["#", ""],
];

const TEXT_FIELDS = "input:not([type=range]):not([type=file]), textarea, [contenteditable]";
const FLASH = 160;

/** As many pressed keys as fit. */
const MOST_SHOWN = 16;

export class KeypadView {
  #button = byId("keypad-button");
  #drawer = byId("keypad-drawer");
  #shown = byId("pressed-keys");
  /** @type {Map<string, HTMLElement>} */
  #keys = new Map();
  #onPress;
  #usable = false;

  /** @param {(key: string) => void} onPress */
  constructor(onPress) {
    this.#onPress = onPress;
    for (const [key, letters] of KEYS) this.#addKey(key, letters);
    this.#button.addEventListener("click", () => this.#open(!this.#isOpen));
    document.addEventListener("keydown", (event) => this.#type(event));
  }

  /**
   * Whether keys can be pressed; when not, the keypad closes and forgets.
   *
   * @param {boolean} usable
   */
  use(usable) {
    if (usable === this.#usable) return;
    this.#usable = usable;
    this.#shown.textContent = "";
    if (!usable) this.#open(false);
  }

  get #isOpen() {
    return this.#button.getAttribute("aria-expanded") === "true";
  }

  /** @param {boolean} open */
  #open(open) {
    this.#button.setAttribute("aria-expanded", String(open));
    this.#drawer.inert = !open;
    this.#drawer.classList.toggle("open", open);
    byId("phone").classList.toggle("keypad-open", open);
  }

  /**
   * @param {string} key
   * @param {string} letters
   */
  #addKey(key, letters) {
    const small = element("small", { "aria-hidden": "true" }, letters);
    const attributes = { type: "button", class: "key", "aria-label": key };
    const button = element("button", attributes, key, small);
    button.addEventListener("click", () => this.#press(key));
    this.#keys.set(key, button);
    byId("keypad").append(button);
  }

  /** @param {string} key */
  #press(key) {
    playKey(key);
    this.#onPress(key);
    this.#shown.textContent = (this.#shown.textContent + key).slice(-MOST_SHOWN);
    const button = this.#keys.get(key);
    button?.classList.add("pressed");
    setTimeout(() => button?.classList.remove("pressed"), FLASH);
  }

  /** @param {KeyboardEvent} event */
  #type(event) {
    const modified = event.ctrlKey || event.altKey || event.metaKey;
    if (!this.#usable || modified || event.repeat || !this.#keys.has(event.key)) return;
    if (event.target instanceof Element && event.target.matches(TEXT_FIELDS)) return;
    event.preventDefault();
    this.#press(event.key);
  }
}
