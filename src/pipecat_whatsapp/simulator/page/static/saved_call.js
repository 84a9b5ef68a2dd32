/** Reads a call out of a file, which may have come from anybody. */

const FORMAT = "pipecat-whatsapp call";
const VERSION = 1;
const LARGEST = 64 * 1024 * 1024;

/** As many as a call keeps. */
const MOST = { steps: 2000, samples: 7200, remarks: 1000 };

const isText = (/** @type {any} */ value) => typeof value === "string";
const isNumber = (/** @type {any} */ value) => Number.isFinite(value);
const isFlag = (/** @type {any} */ value) => typeof value === "boolean";
const isObject = (/** @type {any} */ value) => {
  return typeof value === "object" && value !== null && !Array.isArray(value);
};
const isOneOf = (/** @type {string[]} */ ...choices) => {
  return (/** @type {any} */ value) => choices.includes(value);
};
const isMaybe = (/** @type {(value: any) => boolean} */ check) => {
  return (/** @type {any} */ value) => value === null || check(value);
};
const isParty = isOneOf("phone", "whatsapp", "bot");

/** What each field of a thing must be. */
const USER = {
  phone: isMaybe(isText),
  name: isMaybe(isText),
  user_id: isMaybe(isText),
  username: isMaybe(isText),
};
const STEP = {
  at: isNumber,
  source: isParty,
  target: isParty,
  title: isText,
  outcome: isMaybe(isText),
  ok: isMaybe(isFlag),
  took: isMaybe(isNumber),
  detail: isMaybe(isObject),
};
const SAMPLE = {
  at: isNumber,
  round_trip: isMaybe(isNumber),
  jitter_in: isNumber,
  jitter_out: isMaybe(isNumber),
  loss_in: isNumber,
  loss_out: isMaybe(isNumber),
  concealed: isMaybe(isNumber),
  level_in: isNumber,
  level_out: isNumber,
};
const REMARK = { verdict: isOneOf("good", "note", "wrong"), text: isText };
const RECORD = {
  id: isText,
  direction: isOneOf("inbound", "outbound"),
  user: (/** @type {any} */ value) => fits(value, USER),
  business_phone: isText,
  began_at: (/** @type {any} */ value) => isText(value) && !Number.isNaN(Date.parse(value)),
  call_id: isMaybe(isText),
  end: isMaybe(isText),
  steps: isListOf(STEP, MOST.steps),
  samples: isListOf(SAMPLE, MOST.samples),
  remarks: isListOf(REMARK, MOST.remarks),
};

/**
 * Open a saved call.
 *
 * @param {File} file
 * @returns {Promise<import("./types.js").SavedCall>}
 * @throws {Error} It holds no such call; the message says why.
 */
export async function openSavedCall(file) {
  if (file.size > LARGEST) throw new Error("it is larger than 64 MB.");
  const saved = parse(await file.text());
  if (saved?.format !== FORMAT) throw new Error("it is not a saved call.");
  if (saved.version !== VERSION) throw new Error("another version of the simulator saved it.");
  const wrong = wrongField(saved.record);
  if (wrong !== null) throw new Error(`its ${wrong} cannot be read.`);
  return {
    record: saved.record,
    heard: sound(saved.audio?.heard),
    said: sound(saved.audio?.said),
  };
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("it is not JSON.");
  }
}

/**
 * @param {any} record
 * @returns {string | null} The first field of a record that is not as it must be.
 */
function wrongField(record) {
  if (!isObject(record)) return "record";
  const wrong = Object.entries(RECORD).find(([key, check]) => !check(record[key]));
  return wrong?.[0] ?? null;
}

/**
 * @param {any} value
 * @param {Object<string, (value: any) => boolean>} shape
 */
function fits(value, shape) {
  return isObject(value) && Object.entries(shape).every(([key, check]) => check(value[key]));
}

/**
 * @param {Object<string, (value: any) => boolean>} shape
 * @param {number} most
 */
function isListOf(shape, most) {
  return (/** @type {any} */ value) => {
    return Array.isArray(value) && value.length <= most && value.every((one) => fits(one, shape));
  };
}

/**
 * @param {any} base64
 * @returns {Blob | null}
 */
function sound(base64) {
  if (!isText(base64)) return null;
  try {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    return new Blob([bytes], { type: "audio/ogg" });
  } catch {
    throw new Error("its sound cannot be read.");
  }
}
