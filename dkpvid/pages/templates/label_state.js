// What is labelled, how it got there, and where the browser keeps it.
const data = JSON.parse(document.getElementById("data").textContent);
const frames = data.frames;
// By `dkpvid label --serve`, which takes the files; a page that was opened as a file offers them as a download.
const isServed = location.protocol === "http:";
// A joint is [x, y] in pixels of the frame, the centre of the top-left pixel (0, 0); "hidden"; or null.
const state = { names: data.names.slice(), joints: frames.map((frame) => frame.joints.slice()), frame: 0, joint: 0, last: null, edits: 0, at: data.created };
const past = [], future = [];
const memory = `dkpvid label ${data.id}`;
const listeners = [];
let keepTimer = null;

const placeOf = (joint) => (Array.isArray(joint) ? joint : null);
const current = () => state.joints[state.frame];
const predictedAt = (k) => (frames[state.frame].predicted[data.names.indexOf(state.names[k])] ?? null);
const isDone = (f) => state.names.length > 0 && state.joints[f].every((joint) => joint !== null);
const numDone = () => state.joints.flat().filter((joint) => joint !== null).length;
const limit = (value, low, high) => Math.max(low, Math.min(high, value));

function onChange(listener) {
  listeners.push(listener);
}

function tellChange(isEdit) {
  for (const listener of listeners) listener(isEdit);
}

function remember(frame, before) {
  past.push({ frame, before, after: state.joints[frame].slice(), joint: state.joint });
  if (past.length > 1000) past.shift();
  future.length = 0;
  edited();
}

function edited() {
  state.at = Date.now();
  clearTimeout(keepTimer);
  keepTimer = setTimeout(keep, 150);
  tellChange(true);
}

// The edges of the outer pixels lie half a pixel beyond their centres.
const inside = ([x, y]) => [limit(x, -0.5, frames[state.frame].width - 0.5), limit(y, -0.5, frames[state.frame].height - 0.5)];

// Sets one joint; moves that belong together pass the joints from before all of them.
function setJoint(k, value, before = current().slice()) {
  if (!state.names.length) return;
  current()[k] = Array.isArray(value) ? inside(value) : value;
  remember(state.frame, before);
}

function selectNextOpen() {
  const count = state.names.length;
  for (let step = 1; step <= count; step++) {
    const k = (state.joint + step) % count;
    if (current()[k] === null) {
      state.joint = k;
      return true;
    }
  }
  return false;
}

function step(from, to, side) {
  const entry = from.pop();
  if (!entry) return;
  to.push(entry);
  state.joints[entry.frame] = entry[side].slice();
  state.frame = entry.frame;
  state.joint = Math.min(entry.joint, state.names.length - 1);
  edited();
}

const undo = () => step(past, future, "before");
const redo = () => step(future, past, "after");

function goToFrame(frame) {
  if (frame < 0 || frame >= frames.length || frame === state.frame) return;
  if (current().some(placeOf)) state.last = state.frame;
  state.frame = frame;
  const open = current().indexOf(null);
  state.joint = open < 0 ? 0 : open;
  tellChange(false);
}

function goToNextOpen() {
  for (let step = 1; step <= frames.length; step++) {
    const frame = (state.frame + step) % frames.length;
    if (!isDone(frame)) return goToFrame(frame);
  }
}

function acceptPredicted() {
  const before = current().slice();
  current().forEach((joint, k) => {
    if (joint === null && predictedAt(k)) current()[k] = predictedAt(k).slice();
  });
  remember(state.frame, before);
}

function addName(name) {
  if (!name || state.names.includes(name)) return;
  state.names.push(name);
  for (const joints of state.joints) joints.push(null);
  forget();
  const open = current().indexOf(null);
  state.joint = open < 0 ? 0 : open;
  edited();
}

function removeName(k) {
  state.names.splice(k, 1);
  for (const joints of state.joints) joints.splice(k, 1);
  forget();
  state.joint = limit(state.joint, 0, Math.max(0, state.names.length - 1));
  edited();
}

// Steps back know joints by their number, which means something else now.
function forget() {
  past.length = future.length = 0;
}

// Takes labels of some pictures by their names, and leaves what they say nothing of; returns of how many.
function take(names, byImage, isWanted = () => true) {
  for (const name of names) if (!state.names.includes(name)) addName(name);
  let taken = 0;
  frames.forEach((frame, f) => {
    const joints = byImage.get(frame.image);
    if (!joints || !isWanted(f)) return;
    taken++;
    names.forEach((name, k) => { if (joints[k] !== null) state.joints[f][state.names.indexOf(name)] = joints[k]; });
  });
  forget();
  edited();
  return taken;
}

function keep() {
  const joints = frames.map((frame, f) => [frame.image, state.joints[f]]);
  try {
    localStorage.setItem(memory, JSON.stringify({ at: state.at, names: state.names, joints }));
    return true;
  } catch {
    return false;
  }
}

// What this browser remembers: all of it when it is newer than the page, else what the folder has no labels of.
function recall() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(memory));
  } catch {
    return;
  }
  if (!kept) return;
  const isNewer = kept.at > data.created;
  if (isNewer) {
    state.names = kept.names.slice();
    state.joints = frames.map(() => kept.names.map(() => null));
  }
  take(kept.names, new Map(kept.joints), (f) => isNewer || state.joints[f].every((joint) => joint === null));
  state.at = Math.max(kept.at, data.created);
}
