/** The sound of one call after the other: microphone, speaker and what lies between. */

import { followLevel } from "./level.js";
import { openMicrophone, release } from "./microphone.js";

const CONNECT_TIME = 10_000;
const STATISTICS_INTERVAL = 1000;

const NO_PATH =
  "No sound gets through: this browser does not connect to addresses of its own machine. In " +
  "Firefox, set media.peerconnection.ice.loopback to true on the page about:config and reload; " +
  "Chrome, Edge and Safari need nothing.";

/**
 * @typedef {object} MediaListener What is told of a call's sound.
 * @property {(text: string) => void} onTrouble Something is wrong; a sentence says what.
 * @property {(share: number) => void} onConcealed How much of the last second the browser made up.
 * @property {(level: number) => void} onMicrophoneLevel 0 to 1.
 * @property {(level: number) => void} onVoiceLevel Of the bot, 0 to 1.
 */

export class CallMedia {
  #speaker;
  #listener;
  /** @type {Promise<MediaStream> | null} */
  #microphone = null;
  /** @type {RTCPeerConnection | null} */
  #peer = null;
  #muted = false;
  /** @type {(() => void)[]} What ends with the call. */
  #endings = [];

  /**
   * @param {HTMLAudioElement} speaker
   * @param {MediaListener} listener
   */
  constructor(speaker, listener) {
    this.#speaker = speaker;
    this.#listener = listener;
  }

  /** Have the microphone ready; when the browser asks the user, this waits for the answer. */
  async openMicrophone() {
    await this.#open();
  }

  /**
   * Connect to the simulator's end of the sound.
   *
   * @param {string} offer
   * @returns {Promise<string | null>} The answer's SDP; null when the call ended meanwhile.
   */
  async answer(offer) {
    this.#hangUpPeer();
    const peer = new RTCPeerConnection();
    this.#peer = peer;
    peer.addEventListener("track", (event) => this.#play(event));
    this.#watchPath(peer);
    try {
      await this.#negotiate(peer, offer);
    } catch (error) {
      // A peer that was closed meanwhile refuses everything, and nobody misses it.
      if (this.#peer === peer) this.#listener.onTrouble(`No sound: ${error.message}`);
      return null;
    }
    return this.#peer === peer ? peer.localDescription.sdp : null;
  }

  /** @param {boolean} on */
  async mute(on) {
    this.#muted = on;
    const microphone = await this.#microphone;
    for (const track of microphone?.getAudioTracks() ?? []) track.enabled = !this.#muted;
  }

  /** End the call's sound; the microphone's light goes out. */
  close() {
    this.#hangUpPeer();
    for (const end of this.#endings.splice(0)) end();
    this.#speaker.srcObject = null;
    this.#microphone?.then(release);
    this.#microphone = null;
    this.#muted = false;
  }

  /**
   * @param {RTCPeerConnection} peer
   * @param {string} offer
   */
  async #negotiate(peer, offer) {
    const microphone = await this.#open();
    await peer.setRemoteDescription({ type: "offer", sdp: offer });
    // Takes its place in the offered section, which thereby goes both ways.
    peer.addTrack(microphone.getAudioTracks()[0], microphone);
    // Its candidates need not be waited for: the other end is ICE-lite and learns them from checks.
    await peer.setLocalDescription(await peer.createAnswer());
  }

  #hangUpPeer() {
    this.#peer?.close();
    this.#peer = null;
  }

  /** @returns {Promise<MediaStream>} */
  #open() {
    if (this.#microphone === null) {
      this.#microphone = openMicrophone(this.#listener.onTrouble);
      this.#use(this.#microphone);
    }
    return this.#microphone;
  }

  /** @param {Promise<MediaStream>} opening */
  async #use(opening) {
    const stream = await opening;
    if (this.#microphone !== opening) return;
    for (const track of stream.getAudioTracks()) track.enabled = !this.#muted;
    this.#endings.push(followLevel(stream, this.#listener.onMicrophoneLevel));
  }

  /** @param {RTCTrackEvent} event */
  #play(event) {
    const stream = new MediaStream([event.track]);
    this.#speaker.srcObject = stream;
    this.#endings.push(followLevel(stream, this.#listener.onVoiceLevel));
  }

  /** @param {RTCPeerConnection} peer */
  #watchPath(peer) {
    let connected = false;
    const complain = () => {
      if (!connected && this.#peer === peer) this.#listener.onTrouble(NO_PATH);
      connected = true;
    };
    peer.addEventListener("iceconnectionstatechange", () => {
      if (peer.iceConnectionState === "failed") complain();
      connected ||= ["connected", "completed"].includes(peer.iceConnectionState);
    });
    const patience = setTimeout(complain, CONNECT_TIME);
    const statistics = setInterval(this.#concealmentOf(peer), STATISTICS_INTERVAL);
    this.#endings.push(() => clearTimeout(patience), () => clearInterval(statistics));
  }

  /**
   * @param {RTCPeerConnection} peer
   * @returns {() => Promise<void>} Tells how much was made up since it was called before.
   */
  #concealmentOf(peer) {
    let before = { concealed: 0, received: 0 };
    return async () => {
      const now = await countSamples(peer);
      const received = now.received - before.received;
      const share = (now.concealed - before.concealed) / received;
      before = now;
      if (received > 0 && this.#peer === peer) this.#listener.onConcealed(clamp(share));
    };
  }
}

/**
 * @param {RTCPeerConnection} peer
 * @returns {Promise<{concealed: number, received: number}>} Samples since the call began.
 */
async function countSamples(peer) {
  for (const report of (await peer.getStats()).values()) {
    if (report.type === "inbound-rtp" && report.kind === "audio") {
      return {
        concealed: report.concealedSamples ?? 0,
        received: report.totalSamplesReceived ?? 0,
      };
    }
  }
  return { concealed: 0, received: 0 };
}

/** @param {number} share */
function clamp(share) {
  return Math.min(1, Math.max(0, share));
}
