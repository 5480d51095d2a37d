"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const count = data.times.length, keypoints = data.confidence.length / Math.max(count, 1);
const $ = (id) => document.getElementById(id);
const stage = $("stage"), canvas = stage.querySelector("canvas"), pen = canvas.getContext("2d");
let video = stage.querySelector("video");
const boxes = [...document.querySelectorAll("#names input")];
const colors = [...document.querySelectorAll("#names .dot")].map((dot) => dot.style.backgroundColor);
const labels = [...document.querySelectorAll("#names label")].map((label) => label.childNodes[2].textContent);
const charts = [...document.querySelectorAll(".chart")];
const first = data.times[0] || 0, last = data.times[count - 1] || 0;
let frame = 0, timer = null, offset = 0;

// Drawn in the video's own pixels; the page stretches both alike, which also undoes pixels that are not square.
canvas.width = data.width;
canvas.height = data.height;
stage.style.aspectRatio = `${data.width * data.aspect} / ${data.height}`;
stage.style.maxWidth = `calc(70vh * ${(data.width * data.aspect) / data.height})`;

const isShown = (k) => boxes[k].checked;
const isOn = (id) => $(id).checked;
const place = (i, k) => {
  const at = 2 * (i * keypoints + k), x = data.xy[at], y = data.xy[at + 1];
  // The centre of the top-left pixel is (0, 0), on a canvas (0.5, 0.5).
  return x === null || y === null ? null : [x + 0.5, y + 0.5];
};

function frameAt(time) {
  let low = 0, high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (data.times[middle] <= time + 0.001) low = middle; else high = middle - 1;
  }
  return low;
}

function line(from, to, color, width, opacity) {
  pen.globalAlpha = opacity;
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

function draw() {
  const size = Math.max(2, 0.01 * Math.min(data.width, data.height));
  pen.clearRect(0, 0, data.width, data.height);
  pen.lineCap = "round";
  if (isOn("trail")) {
    for (let k = 0; k < keypoints; k++) {
      for (let i = frame; i > 0 && isShown(k) && data.times[frame] - data.times[i] < 1; i--) {
        const a = place(i, k), b = place(i - 1, k);
        if (a && b) line(a, b, colors[k], 0.6 * size, 1 - (data.times[frame] - data.times[i]));
      }
    }
  }
  if (isOn("skeleton")) {
    for (const [a, b, strength] of data.edges) {
      const from = place(frame, a), to = place(frame, b);
      if (from && to && isShown(a) && isShown(b)) line(from, to, "#fff", size * (0.2 + 0.6 * strength), 0.4 + 0.5 * strength);
    }
  }
  for (let k = 0; k < keypoints; k++) {
    const at = isShown(k) && place(frame, k);
    if (!at) continue;
    if (isOn("points")) {
      pen.globalAlpha = 0.35 + 0.65 * (data.confidence[frame * keypoints + k] || 0);
      pen.fillStyle = colors[k];
      pen.strokeStyle = "#000";
      pen.lineWidth = 0.25 * size;
      pen.beginPath();
      pen.arc(at[0], at[1], size, 0, 7);
      pen.fill();
      pen.stroke();
    }
    if (isOn("labels")) {
      pen.globalAlpha = 1;
      pen.font = `${Math.max(9, 2.6 * size)}px system-ui, sans-serif`;
      pen.lineWidth = 0.6 * size;
      pen.strokeStyle = "#000";
      pen.fillStyle = "#fff";
      pen.strokeText(labels[k], at[0] + 1.5 * size, at[1] - size);
      pen.fillText(labels[k], at[0] + 1.5 * size, at[1] - size);
    }
  }
  pen.globalAlpha = 1;
}

function show(position) {
  frame = Math.max(0, Math.min(count - 1, position));
  $("seek").value = frame;
  $("clock").textContent = `frame ${frame} of ${count}, ${(data.times[frame] || 0).toFixed(2)} s`;
  for (const chart of charts) {
    const across = last > first ? (data.times[frame] - first) / (last - first) : 0;
    chart.querySelector(".cursor").style.left = `calc(44px + (100% - 52px) * ${across})`;
  }
  draw();
}

function goTo(position) {
  show(position);
  // The middle of the frame: its start may be rounded into the frame before.
  const until = data.times[frame + 1] ?? data.times[frame] + 0.02;
  if (video) video.currentTime = Math.max(0, (data.times[frame] + until) / 2 - offset);
}

function ticks(low, high, wanted) {
  const power = 10 ** Math.floor(Math.log10((high - low) / wanted));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => (high - low) / step <= wanted);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

function plot(chart) {
  const sheet = chart.querySelector("canvas"), ink = sheet.getContext("2d"), ratio = window.devicePixelRatio || 1;
  const width = chart.clientWidth, height = chart.clientHeight, style = getComputedStyle(document.documentElement);
  sheet.width = width * ratio;
  sheet.height = height * ratio;
  ink.scale(ratio, ratio);
  const of = chart.dataset.of, isUp = of === "confidence";
  const value = (i, k) => (isUp ? data.confidence[i * keypoints + k] : data.xy[2 * (i * keypoints + k) + (of === "y" ? 1 : 0)]);
  const low = 0, high = isUp ? 1 : of === "x" ? data.width : data.height;
  const across = (time) => 44 + (width - 52) * (last > first ? (time - first) / (last - first) : 0.5);
  // Like in the picture, y grows downwards.
  const down = (v) => 6 + (height - 28) * (of === "y" ? v / high : 1 - v / high);
  ink.fillStyle = style.getPropertyValue("--bad");
  ink.globalAlpha = 0.25;
  for (const [start, end] of data.marks) ink.fillRect(across(start), 6, Math.max(2, across(end) - across(start)), height - 28);
  ink.globalAlpha = 1;
  ink.font = "11px system-ui, sans-serif";
  ink.fillStyle = style.getPropertyValue("--soft");
  ink.strokeStyle = style.getPropertyValue("--line");
  ink.textAlign = "right";
  for (const tick of ticks(low, high, 4)) {
    ink.fillText(tick, 38, down(tick) + 4);
    ink.beginPath();
    ink.moveTo(44, down(tick));
    ink.lineTo(width - 8, down(tick));
    ink.stroke();
  }
  ink.textAlign = "center";
  if (last > first) for (const tick of ticks(first, last, 8)) ink.fillText(tick, across(tick), height - 4);
  ink.lineWidth = 1.3;
  ink.lineJoin = "round";
  for (let k = 0; k < keypoints; k++) {
    if (!isShown(k)) continue;
    ink.strokeStyle = colors[k];
    ink.beginPath();
    for (let i = 0, isDown = false; i < count; i++) {
      const v = value(i, k);
      if (v === null) { isDown = false; continue; }
      if (isDown) ink.lineTo(across(data.times[i]), down(v)); else ink.moveTo(across(data.times[i]), down(v));
      isDown = true;
    }
    ink.stroke();
  }
}

const plotAll = () => charts.forEach(plot);
const isPlaying = () => (video ? !video.paused : timer !== null);
const tellState = () => { $("play").textContent = isPlaying() ? "Pause" : "Play"; };

function followVideo() {
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const onFrame = (now, about) => {
      show(frameAt(about.mediaTime + offset));
      if (video) video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  } else {
    video.addEventListener("timeupdate", () => show(frameAt(video.currentTime + offset)));
  }
  video.addEventListener("loadedmetadata", () => goTo(frame));
  video.addEventListener("seeked", () => show(frameAt(video.currentTime + offset)));
  for (const event of ["play", "pause", "ended"]) video.addEventListener(event, tellState);
  video.addEventListener("error", openNext);
  openNext();
}

// The source, or what was made of it, whichever this browser can play.
function openNext() {
  const next = data.videos.shift();
  if (next) {
    offset = next.offset;
    video.src = next.address;
    return;
  }
  video.remove();
  video = null;
  $("missing").hidden = false;
  tellState();
}

$("play").addEventListener("click", () => {
  if (video) {
    if (video.paused) video.play(); else video.pause();
    return;
  }
  if (timer !== null) { clearInterval(timer); timer = null; tellState(); return; }
  const started = performance.now(), from = frame === count - 1 ? first : data.times[frame];
  timer = setInterval(() => {
    show(frameAt(from + (performance.now() - started) / 1000));
    if (frame === count - 1) { clearInterval(timer); timer = null; tellState(); }
  }, 16);
  tellState();
});
$("seek").addEventListener("input", () => goTo(+$("seek").value));
for (const chart of charts) {
  chart.addEventListener("click", (event) => {
    const share = (event.clientX - chart.getBoundingClientRect().left - 44) / (chart.clientWidth - 52);
    goTo(frameAt(first + share * (last - first)));
  });
}
for (const id of ["points", "skeleton", "trail", "labels"]) $(id).addEventListener("change", draw);
for (const box of boxes) box.addEventListener("change", () => { draw(); plotAll(); });
window.addEventListener("resize", plotAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", plotAll);
if (video) followVideo();
plotAll();
show(0);
