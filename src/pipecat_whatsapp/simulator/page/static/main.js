/** Puts the page together: what the user does goes to the simulator, what it says is shown. */

import { CallFlow } from "./call_flow.js";
import { CallMedia } from "./call_media.js";
import { ChatView } from "./chat_view.js";
import { ControlsView } from "./controls_view.js";
import { byId } from "./element.js";
import { storeIdentity, takeIdentity } from "./identity.js";
import { IdentityView } from "./identity_view.js";
import { InspectorView } from "./inspector_view.js";
import { KeypadView } from "./keypad_view.js";
import { Notices } from "./notices.js";
import { PhoneView } from "./phone_view.js";
import { SimulatorSocket } from "./socket.js";

const GONE = "The simulator is not there. Start it again; this page finds it by itself.";

const notices = new Notices(byId("notices"));
const identity = await takeIdentity();

const socket = new SimulatorSocket({
  onOpen: () => identify(identity.user),
  onMessage: (message) => HANDLERS[message.kind]?.(message),
  onGone: leave,
});

const media = new CallMedia(byId("speaker"), {
  onTrouble: (text) => notices.show(text),
  onConcealed: (share) => socket.send({ kind: "concealed", share }),
  onMicrophoneLevel: (level) => phone.showMicrophone(level),
  onVoiceLevel: (level) => phone.showVoice(level),
});

const call = new CallFlow(send, media, (state) => {
  phone.show(state);
  keypad.use(state.phase === "answered");
  controls.useTerminate(call.busy);
  inspector.setInCall(call.busy);
});

const phone = new PhoneView({
  call: () => call.dial(),
  askCall: () => send({ kind: "ask_call" }),
  accept: () => call.accept(),
  decline: () => call.decline(),
  hangUp: () => call.hangUp(),
  mute: () => call.toggleMute(),
});

const keypad = new KeypadView((key) => call.press(key));

const chat = new ChatView({
  write: (text) => send({ kind: "write", text }),
  tap: (message) => call.dial({ kind: "tap", message }),
  reply: (prompt, answer) => send({ kind: "reply", prompt, answer }),
});

const owner = new IdentityView(identify);

const controls = new ControlsView({
  conditions: (conditions) => send({ kind: "conditions", ...conditions }),
  fault: (name, on) => send({ kind: "fault", name, on }),
  offline: (on) => send({ kind: "offline", on }),
  terminate: () => send({ kind: "terminate" }),
});

const inspector = new InspectorView((text) => notices.show(text));

/** What is done with each kind of message of the simulator. */
const HANDLERS = {
  hello: enter,
  call: (message) => call.onCall(message),
  media: ({ sdp }) => call.onMedia(sdp),
  message: (message) => chat.addMessage(message),
  prompt: (prompt) => chat.showPrompt(prompt),
  record: ({ record }) => inspector.begin(record),
  step: ({ record, step }) => inspector.addStep(record, step),
  sample: ({ record, sample }) => inspector.addSample(record, sample),
  remarks: ({ record, remarks }) => inspector.setRemarks(record, remarks),
  record_end: ({ record, end }) => inspector.setFacts(record, { end }),
  call_id: ({ record, call_id: id }) => inspector.setFacts(record, { call_id: id }),
  faults: ({ faults }) => controls.showFaults(faults),
  conditions: (conditions) => controls.showConditions(conditions),
  offline: ({ on }) => controls.showOffline(on),
  notice: ({ text }) => refuse(text),
  heard: ({ key }) => phone.hear(key),
};

/**
 * Tell the simulator something that the user wants.
 *
 * @param {object} order
 * @returns {boolean} Whether it heard.
 */
function send(order) {
  const sent = socket.send(order);
  if (!sent) notices.keep(GONE);
  return sent;
}

/** @param {import("./types.js").User} user */
function identify(user) {
  send({ kind: "identify", ...user });
}

/** @param {any} hello The simulator takes this tab for the phone of a user. */
function enter({ business, user, faults, conditions, offline }) {
  if (isSomebodyElse(user)) chat.clear();
  identity.user = user;
  storeIdentity(identity);
  notices.remove(GONE);
  showConnection("connected", "Connected");
  phone.introduce(business, user);
  phone.use(true);
  owner.show(user);
  controls.showFaults(faults);
  controls.showConditions(conditions);
  controls.showOffline(offline);
}

/** @param {import("./types.js").User} user */
function isSomebodyElse({ phone: number, user_id: id }) {
  return number !== identity.user.phone || id !== identity.user.user_id;
}

/** @param {string} text */
function refuse(text) {
  notices.show(text);
  call.onRefusal();
}

/** The simulator went away. */
function leave() {
  call.onGone();
  chat.expirePrompts();
  inspector.lose();
  phone.use(false);
  notices.keep(GONE);
  showConnection("gone", "Not connected");
}

/**
 * @param {"connecting" | "connected" | "gone"} state
 * @param {string} words
 */
function showConnection(state, words) {
  const chip = byId("connection");
  chip.dataset.state = state;
  chip.textContent = words;
}

/** On a narrow screen the phone and the inspector take turns. */
function connectViewSwitch() {
  for (const view of ["phone", "inspector"]) {
    byId(`view-${view}`).addEventListener("click", () => {
      document.documentElement.dataset.view = view;
      for (const other of ["phone", "inspector"]) {
        byId(`view-${other}`).setAttribute("aria-pressed", String(other === view));
      }
    });
  }
}

connectViewSwitch();
owner.show(identity.user);
socket.connect();
