/** What makes a call worse: the line's mishaps, and the faults of WhatsApp. */

import { byId } from "./element.js";

/** Milliseconds without a change after which a slider counts as let go. */
const SETTLED = 150;

/** The sliders: how each one's figure is shown, and how it is told. */
const SLIDERS = {
  loss: { id: "condition-loss", unit: "%", scale: 100 },
  delay: { id: "condition-delay", unit: "ms", scale: 1 },
  jitter: { id: "condition-jitter", unit: "ms", scale: 1 },
};

export class ControlsView {
  #onConditions;
  /** @type {number | null} Runs while sliders move. */
  #moving = null;

  /**
   * @param {object} actions
   * @param {(conditions: import("./types.js").Conditions) => void} actions.conditions
   * @param {(name: string, on: boolean) => void} actions.fault
   * @param {(on: boolean) => void} actions.offline
   * @param {() => void} actions.terminate
   */
  constructor(actions) {
    this.#onConditions = actions.conditions;
    for (const { id } of Object.values(SLIDERS)) {
      byId(id).addEventListener("input", () => this.#move(id));
    }
    for (const button of faultButtons()) {
      button.addEventListener("click", () => actions.fault(button.dataset.fault, !isOn(button)));
    }
    const offline = byId("offline");
    offline.addEventListener("click", () => actions.offline(!isOn(offline)));
    byId("terminate").addEventListener("click", actions.terminate);
  }

  /** @param {boolean} inCall Whether there is something to terminate. */
  useTerminate(inCall) {
    byId("terminate").disabled = !inCall;
  }

  /** @param {Object<string, boolean>} faults */
  showFaults(faults) {
    for (const button of faultButtons()) turn(button, faults[button.dataset.fault] === true);
  }

  /** @param {boolean} on */
  showOffline(on) {
    turn(byId("offline"), on);
  }

  /** @param {import("./types.js").Conditions} conditions */
  showConditions(conditions) {
    // Under the user's finger a slider does not jump back to what it was a moment ago.
    if (this.#moving !== null) return;
    for (const [key, { id, scale }] of Object.entries(SLIDERS)) {
      byId(id).value = String(conditions[key] * scale);
      showFigure(id);
    }
  }

  /** @param {string} id */
  #move(id) {
    showFigure(id);
    clearTimeout(this.#moving ?? undefined);
    this.#moving = setTimeout(() => this.#settle(), SETTLED);
  }

  #settle() {
    this.#moving = null;
    const values = Object.entries(SLIDERS).map(([key, { id, scale }]) => {
      return [key, byId(id).valueAsNumber / scale];
    });
    this.#onConditions(Object.fromEntries(values));
  }
}

/** @returns {NodeListOf<HTMLButtonElement>} */
function faultButtons() {
  return byId("faults").querySelectorAll("[data-fault]");
}

/** @param {HTMLElement} button */
function isOn(button) {
  return button.getAttribute("aria-pressed") === "true";
}

/**
 * @param {HTMLElement} button
 * @param {boolean} on
 */
function turn(button, on) {
  button.setAttribute("aria-pressed", String(on));
}

/** @param {string} id */
function showFigure(id) {
  const slider = byId(id);
  const { unit } = Object.values(SLIDERS).find((known) => known.id === id);
  const figure = `${Math.round(slider.valueAsNumber)} ${unit}`;
  byId(`${id}-value`).textContent = figure;
  slider.setAttribute("aria-valuetext", figure);
  slider.style.setProperty("--share", `${(slider.valueAsNumber / Number(slider.max)) * 100}%`);
}
