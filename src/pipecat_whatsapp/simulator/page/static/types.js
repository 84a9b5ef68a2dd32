/**
 * The shapes of what the simulator sends, for the comments of the other modules. No code.
 *
 * @typedef {object} User
 * @property {string | null} phone Digits; null for somebody with a username only.
 * @property {string | null} name
 * @property {string | null} user_id
 * @property {string | null} username
 *
 * @typedef {"phone" | "whatsapp" | "bot"} Party
 *
 * @typedef {object} Step One thing that happened.
 * @property {number} at Seconds since the record began.
 * @property {Party} source
 * @property {Party} target The same as `source` for what concerns nobody else.
 * @property {string} title
 * @property {string | null} outcome
 * @property {boolean | null} ok
 * @property {number | null} took Seconds.
 * @property {object | null} detail
 *
 * @typedef {object} Sample How the line was of late; "in" is what the phone hears.
 * @property {number} at Seconds since the record began.
 * @property {number | null} round_trip Milliseconds.
 * @property {number} jitter_in Milliseconds.
 * @property {number | null} jitter_out Milliseconds.
 * @property {number} loss_in Share, 0 to 1.
 * @property {number | null} loss_out Share, 0 to 1.
 * @property {number | null} concealed Share, 0 to 1.
 * @property {number} level_in Decibels of full scale.
 * @property {number} level_out Decibels of full scale.
 *
 * @typedef {object} Remark
 * @property {"good" | "note" | "wrong"} verdict
 * @property {string} text
 *
 * @typedef {object} CallRecord
 * @property {string} id
 * @property {"inbound" | "outbound"} direction Inbound is the user who calls.
 * @property {User} user
 * @property {string} business_phone
 * @property {string} began_at ISO 8601.
 * @property {string | null} call_id
 * @property {string | null} end
 * @property {Step[]} steps
 * @property {Sample[]} samples
 * @property {Remark[]} remarks
 *
 * @typedef {object} SavedCall
 * @property {CallRecord} record
 * @property {Blob | null} heard Ogg Opus.
 * @property {Blob | null} said Ogg Opus.
 *
 * @typedef {object} Conditions What the phone's line does to packets.
 * @property {number} loss Share, 0 to 1.
 * @property {number} delay Milliseconds.
 * @property {number} jitter Milliseconds.
 */
export {};
