// What surrounds the picture: lists, progress, saving. Texts go in as text, never as markup.
let saveTimer = null, isSaving = false, isUnsaved = false, shown = {};

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function say(text, isBad = false) {
  $("status").textContent = $("status").title = text;
  $("status").className = isBad ? "bad" : "";
}

function symbol(k) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), shape = shapeOf(k);
  svg.setAttribute("viewBox", "-10 -10 20 20");
  svg.setAttribute("aria-hidden", "true");
  const part = document.createElementNS(svg.namespaceURI, shape === "circle" ? "circle" : "polygon");
  if (shape === "circle") part.setAttribute("r", RADIUS);
  else {
    const [count, start] = CORNERS[shape];
    part.setAttribute("points", Array.from({ length: count }, (_, i) => {
      const angle = ((start + (360 * i) / count) * Math.PI) / 180, reach = RADIUS * (shape === "star" && i % 2 ? 0.5 : 1.25);
      return `${reach * Math.cos(angle)},${reach * Math.sin(angle)}`;
    }).join(" "));
  }
  part.setAttribute("fill", colorOf(k));
  part.setAttribute("stroke", "#000");
  svg.append(part);
  return svg;
}

// Scrolls a list to an item of it, but never the page, which on a small screen would take the picture away.
function reveal(list, item) {
  if (!item) return;
  const [outer, inner] = [list, item].map((part) => part.getBoundingClientRect());
  list.scrollTop += Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom);
  list.scrollLeft += Math.min(0, inner.left - outer.left) + Math.max(0, inner.right - outer.right);
}

function listJoints() {
  const items = state.names.map((name, k) => {
    const joint = current()[k];
    const told = placeOf(joint) ? "placed" : joint === "hidden" ? "not visible" : predictedAt(k) ? "predicted" : "open";
    const button = element("button", { type: "button", className: "joint", onclick: () => { select(k); marks.focus(); } },
      symbol(k), element("span", { className: "name", textContent: name }), element("span", { className: "state", textContent: told }));
    button.setAttribute("aria-current", k === state.joint);
    const isUsed = state.joints.some((joints) => joints[k] !== null);
    const remove = element("button", { type: "button", className: "remove", textContent: "\u00d7", title: `Remove ${name}`, onclick: () => removeName(k) });
    return element("li", {}, button, ...(isUsed ? [] : [remove]));
  });
  $("joints").replaceChildren(...items);
  reveal($("joints").closest("aside"), $("joints").querySelector("[aria-current=true]"));
}

function listFrames() {
  const buttons = frames.map((frame, f) => {
    const touched = state.joints[f].some((joint) => joint !== null);
    const [sign, told] = isDone(f) ? ["\u2713", "done"] : touched ? ["\u2026", "begun"] : ["", "open"];
    const button = element("button", { type: "button", textContent: `${f + 1} ${sign}`.trim(), title: `${frame.title}: ${told}`, onclick: () => goToFrame(f) });
    button.setAttribute("aria-label", `Frame ${f + 1}, ${told}`);
    button.setAttribute("aria-current", f === state.frame);
    return button;
  });
  $("strip").replaceChildren(...buttons);
  reveal($("strip"), $("strip").querySelector("[aria-current=true]"));
}

function renew() {
  const frame = frames[state.frame], total = frames.length * state.names.length, done = numDone();
  $("frame-name").textContent = `${state.frame + 1} of ${frames.length}: ${frame.title}`;
  $("frame-reason").textContent = frame.reason;
  $("progress").max = Math.max(total, 1);
  $("progress").value = done;
  $("count").textContent = `${done} of ${total} joints, ${frames.filter((_, f) => isDone(f)).length} of ${frames.length} frames`;
  $("previous").disabled = state.frame === 0;
  $("next").disabled = state.frame === frames.length - 1;
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("hide").disabled = $("clear").disabled = !state.names.length;
  $("accept").hidden = !state.names.some((_, k) => current()[k] === null && predictedAt(k));
  listJoints();
  listFrames();
  draw();
}

function tellWhatNext() {
  if (!state.names.length) say("Add the names of the joints on the right, then click them in the picture.");
  else if (!current().includes(null)) say(frames.every((_, f) => isDone(f)) ? "All frames are done: Save." : "All joints of this frame are done: press N for the next one that is open.");
  else say(`Click ${state.names[state.joint]}, or press X if it is not visible.`);
}

function select(k) {
  state.joint = k;
  tellChange(false);
}

async function save(isAsked) {
  clearTimeout(saveTimer);
  const isKept = keep();
  if (!isServed) {
    const link = element("a", { href: URL.createObjectURL(zip(outputs())), download: "labels.zip" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    isUnsaved = false;
    $("saved").showModal();
    return;
  }
  if (isSaving) {
    saveTimer = setTimeout(save, 300, isAsked);
    return;
  }
  isSaving = true;
  const edits = state.edits;
  try {
    const answer = await fetch("save", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(outputs()) });
    if (!answer.ok) throw new Error(await answer.text());
    isUnsaved = edits !== state.edits;
    if (isAsked) say(`Saved in ${data.folder} at ${new Date().toLocaleTimeString()}.`);
  } catch (error) {
    isUnsaved = true;
    say(`Not saved (${error.message}): is dkpvid label --serve still running?${isKept ? " This browser keeps your labels meanwhile." : ""}`, true);
  } finally {
    isSaving = false;
  }
}

async function importFiles(files) {
  for (const file of files) {
    try {
      const { names, byImage } = parseLabels(await file.text());
      say(`${file.name}: labels of ${take(names, byImage)} of these frames.`, !byImage.size);
    } catch (error) {
      say(`${file.name} holds no labels that can be read: ${error.message}`, true);
    }
  }
}

onChange((isEdit) => {
  if (isEdit) {
    state.edits++;
    isUnsaved = true;
    if (isServed) {
      clearTimeout(saveTimer);
      saveTimer = setTimeout(save, 800, false);
    }
  }
  if (shown.frame !== undefined && shown.frame !== state.frame) turnTo(shown.frame);
  const isElsewhere = shown.frame !== state.frame || shown.joint !== state.joint;
  if (pointer.isKeyboard && (isElsewhere || placeOf(current()[state.joint]))) pointer.at = likelyPlace();
  shown = { frame: state.frame, joint: state.joint };
  tellWhatNext();
  renew();
});
