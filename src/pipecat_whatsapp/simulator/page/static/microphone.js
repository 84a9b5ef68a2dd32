/** The user's microphone, or a silence in its place. */

import { soundContext } from "./sound_context.js";

const WISHES = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** Why there is no microphone, by the browser's name for it. */
const REASONS = {
  NotAllowedError: "The browser was not allowed to use the microphone",
  NotFoundError: "This machine has no microphone",
  NotReadableError: "Another program holds the microphone",
  SecurityError:
    "Browsers give the microphone only to pages of this machine (http://127.0.0.1) or with https",
};

/**
 * Open the microphone, which asks the user when the browser wants that.
 *
 * @param {(text: string) => void} onMissing Is told in a sentence when there is none.
 * @returns {Promise<MediaStream>} One track of sound; silence when there is no microphone, so that
 *   the call goes on.
 */
export async function openMicrophone(onMissing) {
  try {
    // Not there at all when the page came over plain HTTP from another machine.
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    return await navigator.mediaDevices.getUserMedia({ audio: WISHES });
  } catch (error) {
    const reason = REASONS[error.name] ?? `The microphone cannot be opened (${error.name})`;
    onMissing(`${reason}: the bot hears silence.`);
    return soundContext().createMediaStreamDestination().stream;
  }
}

/** @param {MediaStream | null} stream */
export function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
