// The picture and what is drawn on it. View: a place p on the frame, measured from its top-left corner, is shown
// at view.x + view.scale * p.x, in CSS pixels of the stage; the frame's own coordinates are half a pixel less.
const $ = (id) => document.getElementById(id);
const stage = $("stage"), picture = $("picture"), marks = $("marks"), loupe = $("loupe");
const view = { scale: 1, x: 0, y: 0, isFitted: true };
const pointer = { at: null, isKeyboard: false };  // Where the mouse, a finger or the cross is, in frame coordinates.
const images = frames.map(() => null);
const shapes = ["circle", "square", "triangle", "diamond", "down", "star", "hexagon"];
const RADIUS = 7, CORNERS = { square: [4, 45], triangle: [3, -90], diamond: [4, 0], down: [3, 90], hexagon: [6, 0], star: [10, -90] };

const toScreen = ([x, y]) => [view.x + view.scale * (x + 0.5), view.y + view.scale * (y + 0.5)];
const toFrame = ([x, y]) => [(x - view.x) / view.scale - 0.5, (y - view.y) / view.scale - 0.5];
const colorOf = (k) => data.colors[k % data.colors.length];
// Colours come in as many hues as there are shapes: a hue that comes again has another shape.
const shapeOf = (k) => shapes[(k + Math.floor(k / shapes.length)) % shapes.length];
const isOn = (id) => $(id).checked;

// A picture is decoded when it is wanted, and the next one ahead of that.
function imageOf(f) {
  if (!frames[f]) return null;
  if (!images[f]) {
    images[f] = new Image();
    images[f].onload = () => { if (f === state.frame) draw(); };
    images[f].src = "data:image/jpeg;base64," + $(`jpeg-${f}`).textContent;
  }
  return images[f].complete ? images[f] : null;
}

function outline(shape, radius) {
  const path = new Path2D();
  if (shape === "circle") {
    path.arc(0, 0, radius, 0, 2 * Math.PI);
    return path;
  }
  const [count, start] = CORNERS[shape];
  for (let i = 0; i < count; i++) {
    const angle = ((start + (360 * i) / count) * Math.PI) / 180;
    const reach = radius * (shape === "star" && i % 2 ? 0.5 : 1.25);
    path.lineTo(reach * Math.cos(angle), reach * Math.sin(angle));
  }
  path.closePath();
  return path;
}

function fit() {
  const frame = frames[state.frame], width = stage.clientWidth, height = stage.clientHeight;
  view.scale = Math.min(width / frame.width, height / frame.height);
  view.x = (width - view.scale * frame.width) / 2;
  view.y = (height - view.scale * frame.height) / 2;
  view.isFitted = true;
}

function zoom(factor, [x, y] = [stage.clientWidth / 2, stage.clientHeight / 2]) {
  const smallest = 0.5 * Math.min(stage.clientWidth / frames[state.frame].width, stage.clientHeight / frames[state.frame].height);
  const scale = limit(view.scale * factor, smallest, 60);
  view.x = x + (view.x - x) * (scale / view.scale);
  view.y = y + (view.y - y) * (scale / view.scale);
  view.scale = scale;
  view.isFitted = false;
}

function sized(canvas) {
  const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  return pen;
}

// Outlined twice, so that it is seen on light and on dark.
function mark(pen, [x, y], k, { isFilled = true, opacity = 1, dashes = [], radius = RADIUS } = {}) {
  const path = outline(shapeOf(k), radius);
  pen.save();
  pen.translate(x, y);
  pen.globalAlpha = opacity;
  if (isFilled) {
    pen.globalAlpha = 0.35 * opacity;
    pen.fillStyle = colorOf(k);
    pen.fill(path);
    pen.globalAlpha = opacity;
  }
  pen.lineWidth = 4;
  pen.strokeStyle = "#000";
  pen.stroke(path);
  pen.setLineDash(dashes);
  pen.lineWidth = 2;
  pen.strokeStyle = colorOf(k);
  pen.stroke(path);
  if (isFilled) {
    // The place itself.
    pen.fillStyle = "#fff";
    pen.fillRect(-1, -1, 2, 2);
  }
  pen.restore();
}

function write(pen, text, [x, y], opacity = 1) {
  pen.save();
  pen.globalAlpha = opacity;
  pen.font = "600 12px system-ui, sans-serif";
  pen.lineWidth = 3;
  pen.lineJoin = "round";
  pen.strokeStyle = "#000";
  pen.fillStyle = "#fff";
  pen.strokeText(text, x + 12, y - 8);
  pen.fillText(text, x + 12, y - 8);
  pen.restore();
}

function cross(pen, [x, y], reach, color, width = 1) {
  pen.lineWidth = width;
  pen.strokeStyle = color;
  pen.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    pen.moveTo(x + 3 * dx, y + 3 * dy);
    pen.lineTo(x + reach * dx, y + reach * dy);
  }
  pen.stroke();
}

function drawMarks(pen, to) {
  if (isOn("hints")) {
    for (const [x, y, confidence] of frames[state.frame].hints) {
      pen.globalAlpha = 0.25 + 0.45 * confidence;
      cross(pen, to([x, y]), 7, "#000", 3);
      cross(pen, to([x, y]), 7, "#fff", 1);
    }
    pen.globalAlpha = 1;
  }
  if (isOn("ghosts") && state.last !== null && state.last !== state.frame) {
    state.joints[state.last].forEach((joint, k) => {
      if (placeOf(joint) && !placeOf(current()[k])) mark(pen, to(joint), k, { isFilled: false, opacity: 0.45, radius: 5 });
    });
  }
  current().forEach((joint, k) => {
    if (joint === null && predictedAt(k)) {
      mark(pen, to(predictedAt(k)), k, { isFilled: false, dashes: [4, 3] });
      write(pen, isOn("named") || k === state.joint ? `${state.names[k]} ?` : "?", to(predictedAt(k)), 0.85);
    }
  });
  current().forEach((joint, k) => {
    if (!placeOf(joint)) return;
    mark(pen, to(joint), k);
    if (k === state.joint) {
      pen.lineWidth = 1.5;
      pen.strokeStyle = "#fff";
      pen.beginPath();
      pen.arc(...to(joint), 1.9 * RADIUS, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (isOn("named") || k === state.joint) write(pen, state.names[k], to(joint));
  });
}

// Another frame keeps the part that is looked at, if it is as large as the one before.
function turnTo(before) {
  const [a, b] = [frames[before], frames[state.frame]];
  if (view.isFitted || a.width !== b.width || a.height !== b.height) fit();
}

// Where the cross starts: at the joint, or where that probably is.
function likelyPlace() {
  const ghost = state.last === null ? null : placeOf(state.joints[state.last][state.joint]);
  const middle = [frames[state.frame].width, frames[state.frame].height].map((length) => Math.round((length - 1) / 2));
  return (placeOf(current()[state.joint]) ?? predictedAt(state.joint) ?? ghost ?? pointer.at ?? middle).slice();
}

function draw() {
  const frame = frames[state.frame], image = imageOf(state.frame);
  const canvas = sized(picture), pen = sized(marks);
  if (image) {
    canvas.imageSmoothingEnabled = view.scale < 3;
    canvas.drawImage(image, view.x, view.y, view.scale * frame.width, view.scale * frame.height);
  }
  drawMarks(pen, toScreen);
  if (pointer.isKeyboard && pointer.at) {
    cross(pen, toScreen(pointer.at), 18, "#000", 4);
    cross(pen, toScreen(pointer.at), 18, "#fff", 2);
  }
  drawLoupe(frame, image);
  imageOf(state.frame + 1);
}

function drawLoupe(frame, image) {
  loupe.hidden = !(isOn("magnify") && pointer.at && image);
  if (loupe.hidden) return;
  const side = loupe.clientWidth, scale = Math.max(8, 3 * view.scale), [x, y] = pointer.at, pen = sized(loupe);
  const to = ([px, py]) => [side / 2 + scale * (px - x), side / 2 + scale * (py - y)];
  const [left, top] = to([-0.5, -0.5]);
  pen.fillStyle = "#17191d";
  pen.fillRect(0, 0, side, side);
  pen.imageSmoothingEnabled = false;
  pen.filter = picture.style.filter || "none";
  pen.drawImage(image, left, top, scale * frame.width, scale * frame.height);
  pen.filter = "none";
  drawMarks(pen, to);
  cross(pen, [side / 2, side / 2], side, "#0008", 3);
  cross(pen, [side / 2, side / 2], side, "#fffc", 1);
  const [screenX, screenY] = toScreen(pointer.at);
  loupe.classList.toggle("right", screenX < stage.clientWidth / 2 && screenY < stage.clientHeight / 2);
}
