// The files that other programs read: written, packed, and read back.
const rounded = (value) => String(Math.round(value * 1000) / 1000);
const csvCell = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function collectedData(table) {
  const twice = (cells) => cells.flatMap((cell) => [cell, cell]);
  const rows = [
    ["scorer", ...twice(state.names.map(() => data.scorer))],
    ["bodyparts", ...twice(state.names)],
    ["coords", ...state.names.flatMap(() => ["x", "y"])],
  ];
  frames.forEach((frame, f) => {
    if (frame.table !== table) return;
    rows.push([frame.image, ...state.joints[f].flatMap((joint) => (placeOf(joint) ? joint.map(rounded) : ["", ""]))]);
  });
  return rows.map((row) => row.map(csvCell).join(",") + "\n").join("");
}

function coco() {
  const images = frames.map((frame, f) => ({
    id: f + 1, file_name: frame.image, width: frame.width, height: frame.height,
    video: frame.video, frame: frame.index, time_seconds: frame.time,
  }));
  const annotations = [];
  state.joints.forEach((joints, f) => {
    if (joints.every((joint) => joint === null)) return;
    const placed = joints.filter(placeOf), xs = placed.map(([x]) => x), ys = placed.map(([, y]) => y);
    const [left, top] = placed.length ? [Math.min(...xs), Math.min(...ys)] : [0, 0];
    const [width, height] = placed.length ? [Math.max(...xs) - left, Math.max(...ys) - top] : [0, 0];
    annotations.push({
      id: f + 1, image_id: f + 1, category_id: 1, iscrowd: 0, area: width * height, bbox: [left, top, width, height],
      num_keypoints: placed.length,
      keypoints: joints.flatMap((joint) => (placeOf(joint) ? [+rounded(joint[0]), +rounded(joint[1]), 2] : [0, 0, 0])),
      // COCO has one 0 for both "not visible" and "not labelled".
      attributes: { not_visible: state.names.filter((name, k) => joints[k] === "hidden") },
    });
  });
  const category = { id: 1, name: "subject", supercategory: "subject", keypoints: state.names, skeleton: [] };
  return JSON.stringify({ images, annotations, categories: [category] }, null, 1) + "\n";
}

function outputs() {
  const tables = [...new Set(frames.map((frame) => frame.table))];
  return Object.fromEntries([...tables.map((table) => [table, collectedData(table)]), [data.coco, coco()]]);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// A ZIP archive of texts, stored as they are. Source: PKWARE, APPNOTE.TXT, 4.3.
function zip(texts) {
  const parts = [], directory = [];
  let offset = 0;
  const little = (...fields) => {
    const bytes = [];
    for (const [value, size] of fields) for (let i = 0; i < size; i++) bytes.push((value >>> (8 * i)) & 255);
    return Uint8Array.from(bytes);
  };
  const encoder = new TextEncoder();
  for (const [path, text] of Object.entries(texts)) {
    const name = encoder.encode(path), content = encoder.encode(text);
    // Version 2.0; names in UTF-8; stored; 1 January 1980; checksum and sizes; no extra field.
    const common = [[20, 2], [0x0800, 2], [0, 2], [0, 2], [0x21, 2], [crc32(content), 4], [content.length, 4], [content.length, 4], [name.length, 2], [0, 2]];
    const header = little([0x04034b50, 4], ...common);
    directory.push(little([0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), name);
    parts.push(header, name, content);
    offset += header.length + name.length + content.length;
  }
  const size = directory.reduce((total, part) => total + part.length, 0), count = directory.length / 2;
  const end = little([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function parseCsv(text) {
  const rows = [[""]];
  let isQuoted = false;
  const source = text.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n");
  for (let i = 0; i < source.length; i++) {
    const character = source[i], row = rows[rows.length - 1];
    if (isQuoted) {
      if (character !== '"') row[row.length - 1] += character;
      else if (source[i + 1] === '"') { row[row.length - 1] += '"'; i++; }
      else isQuoted = false;
    } else if (character === '"') isQuoted = true;
    else if (character === ",") row.push("");
    else if (character === "\n") rows.push([""]);
    else row[row.length - 1] += character;
  }
  return rows.filter((row) => row.length > 1);
}

// Names of joints, and each picture's joints by the last two parts of its path.
function parseLabels(text) {
  const byTail = new Map();
  const tail = (path) => path.replaceAll("\\", "/").split("/").slice(-2).join("/");
  let names;
  if (text.trimStart().startsWith("{")) {
    const content = JSON.parse(text);
    names = content.categories[0].keypoints.map(String);
    const images = new Map(content.images.map((image) => [image.id, String(image.file_name)]));
    for (const subject of content.annotations) {
      const hidden = subject.attributes?.not_visible ?? [];
      byTail.set(tail(images.get(subject.image_id)), names.map((name, k) => {
        const [x, y, visible] = subject.keypoints.slice(3 * k, 3 * k + 3);
        return visible > 0 ? [x, y] : hidden.includes(name) ? "hidden" : null;
      }));
    }
  } else {
    const [scorer, bodyparts, coords, ...rows] = parseCsv(text);
    if (scorer[0] !== "scorer" || bodyparts[0] !== "bodyparts" || coords[0] !== "coords") throw new Error("no table of DeepLabCut, no COCO JSON");
    const first = coords.findIndex((cell, i) => i && cell);
    names = bodyparts.slice(first).filter((name, i) => i % 2 === 0);
    for (const row of rows) {
      byTail.set(tail(row.slice(0, first).join("/")), names.map((name, k) => {
        const [x, y] = row.slice(first + 2 * k, first + 2 * k + 2);
        return x && y && Number.isFinite(+x + +y) ? [+x, +y] : null;
      }));
    }
  }
  const byImage = new Map(frames.filter((frame) => byTail.has(tail(frame.image))).map((frame) => [frame.image, byTail.get(tail(frame.image))]));
  return { names, byImage };
}
