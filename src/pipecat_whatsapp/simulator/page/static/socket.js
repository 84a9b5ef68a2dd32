/** The line to the simulator: JSON both ways, and a new try whenever it breaks. */

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;

export class SimulatorSocket {
  /** @type {WebSocket | null} */
  #socket = null;
  #pause = FIRST_PAUSE;
  #missed = false;
  #listener;

  /**
   * @param {object} listener
   * @param {() => void} listener.onOpen It is there, for the first time or again.
   * @param {(message: any) => void} listener.onMessage It said something.
   * @param {() => void} listener.onGone It is not there, or no longer; told once.
   */
  constructor(listener) {
    this.#listener = listener;
  }

  /** Connect, and stay connected. */
  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/socket`);
    socket.addEventListener("open", () => this.#open());
    socket.addEventListener("message", (event) => this.#hear(event.data));
    socket.addEventListener("close", () => this.#close());
    this.#socket = socket;
  }

  /**
   * @param {object} order
   * @returns {boolean} Whether the simulator is there to hear it.
   */
  send(order) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(order));
    return true;
  }

  #open() {
    this.#pause = FIRST_PAUSE;
    this.#missed = false;
    this.#listener.onOpen();
  }

  /** @param {string} text */
  #hear(text) {
    this.#listener.onMessage(JSON.parse(text));
  }

  #close() {
    if (!this.#missed) this.#listener.onGone();
    this.#missed = true;
    setTimeout(() => this.connect(), this.#pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }
}
