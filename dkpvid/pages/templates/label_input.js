// Mouse, fingers and keys.
const touches = new Map();  // Places of the pointers that are down, by their number.
let drag = null;  // {kind: joint | picture | pinch, ...}
const inStage = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const apart = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);

// The joint under the pointer; the current one wins where several are near.
function jointAt(at, reach) {
  let best = null, nearest = reach;
  current().forEach((joint, k) => {
    const place = placeOf(joint) ?? (joint === null ? predictedAt(k) : null);
    const distance = place ? apart(toScreen(place), at) - (k === state.joint ? 3 : 0) : Infinity;
    if (distance < nearest) [best, nearest] = [k, distance];
  });
  return best;
}

const reachOf = (event) => (event.pointerType === "touch" ? 26 : 13);

function placeCurrent(place) {
  if (!state.names.length) return tellWhatNext();
  const wasOpen = !placeOf(current()[state.joint]);
  setJoint(state.joint, place);
  if (wasOpen && selectNextOpen()) tellChange(false);
}

function hideJoint(k) {
  if (!state.names.length) return;
  state.joint = k;
  setJoint(k, current()[k] === "hidden" ? null : "hidden");
  if (current()[k] === "hidden" && selectNextOpen()) tellChange(false);
}

function press(event) {
  if (event.button === 2) return;
  const at = inStage(event);
  marks.focus({ preventScroll: true });
  marks.setPointerCapture(event.pointerId);
  touches.set(event.pointerId, at);
  pointer.isKeyboard = false;
  pointer.at = toFrame(at);
  if (touches.size === 2) {
    if (drag?.kind === "joint") state.joints[state.frame] = drag.before;
    drag = { kind: "pinch" };
  } else if (touches.size === 1) {
    const k = event.button === 0 ? jointAt(at, reachOf(event)) : null;
    drag = { kind: k === null ? "picture" : "joint", start: at, k, asked: state.joint, hasMoved: false, isMain: event.button === 0 };
    if (k !== null) {
      drag.before = current().slice();
      drag.from = (placeOf(current()[k]) ?? predictedAt(k)).slice();
    }
  }
  draw();
}

function move(event) {
  const at = inStage(event), before = touches.get(event.pointerId);
  if (!before) {
    if (event.pointerType === "touch") return;
    pointer.isKeyboard = false;
    pointer.at = toFrame(at);
    marks.classList.toggle("over", jointAt(at, reachOf(event)) !== null);
    draw();
    return;
  }
  if (drag?.kind === "pinch" && touches.size === 2) {
    const [other] = [...touches].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const middle = [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2];
    view.x += (at[0] - before[0]) / 2;
    view.y += (at[1] - before[1]) / 2;
    zoom(apart(at, other) / Math.max(apart(before, other), 1), middle);
  } else if (drag && (drag.hasMoved || apart(at, drag.start) > (event.pointerType === "touch" ? 8 : 3))) {
    drag.hasMoved = true;
    marks.classList.add("moving");
    if (drag.kind === "joint") {
      // As far as the pointer went, so that it does not matter where in the mark it was taken.
      const [x, y] = drag.from;
      state.joint = drag.k;
      current()[drag.k] = inside([x + (at[0] - drag.start[0]) / view.scale, y + (at[1] - drag.start[1]) / view.scale]);
      pointer.at = current()[drag.k];
    } else if (drag.kind === "picture") {
      view.x += at[0] - before[0];
      view.y += at[1] - before[1];
      view.isFitted = false;
    }
  }
  touches.set(event.pointerId, at);
  draw();
}

function release(event) {
  if (!touches.delete(event.pointerId)) return;
  const ended = drag;
  if (touches.size === 0) drag = null;
  marks.classList.remove("moving");
  if (!ended || ended.kind === "pinch") return draw();
  if (event.type === "pointercancel") {
    if (ended.kind === "joint") state.joints[state.frame] = ended.before;
  } else if (ended.hasMoved) {
    if (ended.kind === "joint") {
      // What was to be placed next still is.
      if (current()[ended.asked] === null) state.joint = ended.asked;
      setJoint(ended.k, current()[ended.k], ended.before);
    }
  } else if (ended.isMain) {
    // A click beside the mark of another joint selects that, but only when there is nothing left to place.
    if (ended.kind === "joint" && placeOf(current()[state.joint])) select(ended.k);
    else placeCurrent(toFrame(ended.start));
  }
  if (event.pointerType === "touch") pointer.at = null;
  draw();
}

marks.addEventListener("pointerdown", press);
marks.addEventListener("pointermove", move);
marks.addEventListener("pointerup", release);
marks.addEventListener("pointercancel", release);
marks.addEventListener("pointerleave", () => { if (!touches.size && !pointer.isKeyboard) { pointer.at = null; draw(); } });
marks.addEventListener("contextmenu", (event) => {
  event.preventDefault();
  if (drag?.hasMoved) return;
  const k = jointAt(inStage(event), reachOf(event));
  drag = null;
  hideJoint(k !== null && placeOf(current()[k]) ? k : state.joint);
});
marks.addEventListener("wheel", (event) => {
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
  zoom(Math.exp(-limit(pixels, -240, 240) * (event.ctrlKey ? 0.01 : 0.002)), inStage(event));
  pointer.at = toFrame(inStage(event));
  draw();
}, { passive: false });

// Moves the joint, or while it has no place the cross.
function nudge(dx, dy, isFine) {
  const step = isFine ? 1 : Math.max(1, Math.round(10 / view.scale));
  const [x, y] = pointer.isKeyboard && pointer.at ? pointer.at : likelyPlace();
  pointer.at = inside([x + dx * step, y + dy * step]);
  pointer.isKeyboard = true;
  if (placeOf(current()[state.joint])) setJoint(state.joint, pointer.at);
  draw();
}

function placeAtCross() {
  if (!pointer.isKeyboard) pointer.at = likelyPlace();
  pointer.isKeyboard = true;
  placeCurrent(pointer.at);
}

function jumpJoint(by) {
  const count = state.names.length;
  if (count) select((state.joint + by + count) % count);
}

function brighten(factor) {
  const value = limit(Math.round($("brightness").value * factor), 25, 400);
  $("brightness").value = value;
  picture.style.filter = value === 100 ? "" : `brightness(${value}%)`;
  draw();
}

function toggle(id) {
  $(id).checked = !$(id).checked;
  draw();
}

function zoomed(factor) {
  if (factor) zoom(factor, pointer.at ? toScreen(pointer.at) : undefined); else fit();
  draw();
}

const keys = {
  ArrowLeft: () => goToFrame(state.frame - 1), ArrowRight: () => goToFrame(state.frame + 1), n: goToNextOpen,
  ArrowUp: () => jumpJoint(-1), ArrowDown: () => jumpJoint(1),
  w: (event) => nudge(0, -1, event.shiftKey), s: (event) => nudge(0, 1, event.shiftKey),
  a: (event) => nudge(-1, 0, event.shiftKey), d: (event) => nudge(1, 0, event.shiftKey),
  " ": placeAtCross, x: () => hideJoint(state.joint), Delete: () => setJoint(state.joint, null), Backspace: () => setJoint(state.joint, null),
  "+": () => zoomed(1.25), "=": () => zoomed(1.25), "-": () => zoomed(0.8), 0: () => zoomed(0), "[": () => brighten(0.87), "]": () => brighten(1.15),
  g: () => toggle("ghosts"), h: () => toggle("hints"), l: () => toggle("magnify"), m: () => toggle("named"), p: () => acceptPredicted(),
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input[type=text], input[type=range]") || document.querySelector("dialog[open]");
  if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    const key = event.key.toLowerCase(), action = { s: () => save(true), z: event.shiftKey ? redo : undo, y: redo }[key];
    if (!action || (isTyping && key !== "s")) return;
    event.preventDefault();
    return action();
  }
  if (isTyping || event.altKey) return;
  // A button that has the focus is pressed by the space bar.
  if (event.key === " " && event.target.matches("button, input, summary")) return;
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
});

const clicks = {
  previous: keys.ArrowLeft, next: keys.ArrowRight, undo, redo, hide: keys.x, clear: keys.Delete, accept: acceptPredicted,
  "zoom-in": () => zoomed(1.25), "zoom-out": () => zoomed(0.8), fit: () => zoomed(0), save: () => save(true), "show-help": keys["?"],
};
for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
for (const id of ["ghosts", "hints", "magnify", "named"]) $(id).addEventListener("change", draw);
$("brightness").addEventListener("input", () => brighten(1));
$("import").addEventListener("change", async (event) => { await importFiles(event.target.files); event.target.value = ""; });
$("add-joint").addEventListener("submit", (event) => {
  event.preventDefault();
  addName($("new-joint").value.trim());
  $("new-joint").value = "";
});
window.addEventListener("pagehide", keep);
window.addEventListener("beforeunload", (event) => { if (isUnsaved && (isServed || !keep())) event.preventDefault(); });
new ResizeObserver(() => { if (view.isFitted) fit(); draw(); }).observe(stage);

recall();
isUnsaved = false;
state.frame = Math.max(0, state.joints.findIndex((_, f) => !isDone(f)));
state.joint = Math.max(0, current().indexOf(null));
fit();
tellChange(false);
if (numDone() === 0) $("help").showModal();
