"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const pictures = [...document.querySelectorAll("#pictures img")];
const stage = document.getElementById("stage"), context = stage.getContext("2d");
const slider = document.getElementById("frame"), zoom = document.getElementById("zoom"), scroll = document.getElementById("scroll");
const list = document.getElementById("list"), crops = document.getElementById("crops"), error = document.getElementById("error");
const COLORS = ["#ff4d4d", "#3fa9ff", "#39d353", "#ffb000", "#d06bff", "#00cfc8"];
const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, WORD = /^(y|n|yes|no|on|off|true|false|null|nan|inf)$/i; // other words of YAML
const MIN = 2, REACH = 7; // pixels of a region; pixels of the screen around an edge
let count = 0, selected = null, drag = null;
const regions = data.regions.map(given => makeRegion(given.name, ...given.box));

function makeRegion(name, x, y, w, h) {
  return {name, x, y, w, h, color: COLORS[count++ % COLORS.length]};
}
function freeName() {
  const taken = new Set(regions.map(region => region.name.toLowerCase()));
  if (!taken.has("region")) return "region";
  let number = 2;
  while (taken.has("region" + number)) number++;
  return "region" + number;
}
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const scale = () => data.width / stage.getBoundingClientRect().width; // pixels of the frame for one of the screen
const picture = () => pictures[Number(slider.value)];

function place(region, x, y, w, h) { // whole pixels within the frame
  region.w = clamp(Math.round(w), 1, data.width);
  region.h = clamp(Math.round(h), 1, data.height);
  region.x = clamp(Math.round(x), 0, data.width - region.w);
  region.y = clamp(Math.round(y), 0, data.height - region.h);
}
function position(event) {
  const box = stage.getBoundingClientRect();
  return [(event.clientX - box.left) * scale(), (event.clientY - box.top) * scale()];
}
// What a point of a region does: the edges that move with it, or the whole region; null outside.
function partAt(region, x, y) {
  const reach = REACH * scale(), inX = x > region.x - reach && x < region.x + region.w + reach;
  const inY = y > region.y - reach && y < region.y + region.h + reach;
  if (!inX || !inY) return null;
  // In a small region the outer halves of the reach count, so that there is an inside to drag.
  const inner = side => Math.min(reach, side / 4);
  const part = {
    left: x < region.x + inner(region.w), right: x > region.x + region.w - inner(region.w),
    top: y < region.y + inner(region.h), bottom: y > region.y + region.h - inner(region.h),
  };
  part.move = !part.left && !part.right && !part.top && !part.bottom;
  return part;
}
function find(x, y) {
  const order = [...regions].reverse();
  if (selected) order.unshift(selected);
  for (const region of order) {
    const part = partAt(region, x, y);
    if (part) return [region, part];
  }
  return [null, null];
}
function cursor(part) {
  if (!part) return "crosshair";
  if (part.move) return "move";
  if (part.left || part.right) return part.top || part.bottom ? (part.left === part.top ? "nwse-resize" : "nesw-resize") : "ew-resize";
  return "ns-resize";
}

stage.addEventListener("pointerdown", event => {
  if (event.button !== 0) return;
  event.preventDefault();
  stage.focus({preventScroll: true});
  stage.setPointerCapture(event.pointerId);
  const [x, y] = position(event), [region, part] = find(x, y);
  if (region) {
    drag = {region, part, x, y, before: {...region}};
    selected = region;
  } else {
    drag = {region: null, x: clamp(x, 0, data.width), y: clamp(y, 0, data.height)};
  }
  update();
});
stage.addEventListener("pointermove", event => {
  const [x, y] = position(event);
  if (!drag) {
    stage.style.cursor = cursor(find(x, y)[1]);
    return;
  }
  if (!drag.part) drawNew(x, y);
  else if (drag.part.move) place(drag.region, drag.before.x + x - drag.x, drag.before.y + y - drag.y, drag.region.w, drag.region.h);
  else resize(x, y);
  update();
});
function drawNew(x, y) {
  x = clamp(x, 0, data.width);
  y = clamp(y, 0, data.height);
  const w = Math.abs(x - drag.x), h = Math.abs(y - drag.y);
  if (!drag.region && (w < MIN || h < MIN)) return; // a click
  if (!drag.region) {
    drag.region = selected = makeRegion(freeName(), 0, 0, 1, 1);
    regions.push(drag.region);
  }
  const left = Math.round(Math.min(x, drag.x)), top = Math.round(Math.min(y, drag.y));
  place(drag.region, left, top, Math.round(Math.max(x, drag.x)) - left, Math.round(Math.max(y, drag.y)) - top);
}
function resize(x, y) {
  const {before, part, region} = drag, dx = Math.round(x - drag.x), dy = Math.round(y - drag.y);
  let [left, top, right, bottom] = [before.x, before.y, before.x + before.w, before.y + before.h];
  if (part.left) left = clamp(left + dx, 0, right - MIN);
  else if (part.right) right = clamp(right + dx, left + MIN, data.width);
  if (part.top) top = clamp(top + dy, 0, bottom - MIN);
  else if (part.bottom) bottom = clamp(bottom + dy, top + MIN, data.height);
  place(region, left, top, right - left, bottom - top);
}
function release() {
  const drawn = drag && !drag.part && drag.region;
  if (drag && !drag.part && !drag.region) selected = null; // a click beside all regions
  drag = null;
  update();
  if (drawn) list.querySelector("li.selected .name").select();
}
stage.addEventListener("pointerup", release);
stage.addEventListener("pointercancel", release);
stage.addEventListener("keydown", event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!selected || (!step && event.key !== "Delete" && event.key !== "Backspace")) return;
  event.preventDefault();
  const {x, y, w, h} = selected;
  if (!step) remove(selected);
  else if (event.shiftKey) place(selected, x, y, Math.min(w + step[0], data.width - x), Math.min(h + step[1], data.height - y));
  else place(selected, x + step[0], y + step[1], w, h);
  update();
});
function remove(region) {
  regions.splice(regions.indexOf(region), 1);
  if (selected === region) selected = regions[regions.length - 1] || null;
}

function drawStage() {
  context.imageSmoothingEnabled = false;
  if (picture().complete) context.drawImage(picture(), 0, 0, data.width, data.height);
  const pixel = scale();
  for (const region of regions) {
    const line = (region === selected ? 2 : 1.5) * pixel, half = line / 2;
    context.lineWidth = line + 2 * pixel;
    context.strokeStyle = "#000a";
    context.strokeRect(region.x - half, region.y - half, region.w + line, region.h + line);
    context.lineWidth = line;
    context.strokeStyle = region.color;
    context.strokeRect(region.x - half, region.y - half, region.w + line, region.h + line); // around its pixels
    context.font = 13 * pixel + "px system-ui, sans-serif";
    const width = context.measureText(region.name).width + 8 * pixel, above = region.y > 20 * pixel;
    const top = above ? region.y - 19 * pixel : region.y + region.h + 3 * pixel;
    const left = Math.min(region.x, data.width - width);
    context.fillStyle = region.color;
    context.fillRect(left, top, width, 16 * pixel);
    context.fillStyle = "#000";
    context.fillText(region.name, left + 4 * pixel, top + 12.5 * pixel);
  }
}
function drawCrops() {
  document.getElementById("chosen").textContent = selected ? "(" + selected.name + ")" : "";
  if (!selected) {
    crops.replaceChildren();
    return;
  }
  while (crops.children.length < pictures.length) {
    const figure = document.createElement("figure");
    figure.append(document.createElement("canvas"), document.createElement("figcaption"));
    crops.append(figure);
  }
  const {x, y, w, h} = selected, margin = Math.max(4, Math.round(Math.min(w, h) / 4)), ratio = window.devicePixelRatio || 1;
  const size = clamp(Math.floor(320 / (w + 2 * margin)), 1, 6); // magnification
  pictures.forEach((image, at) => {
    const [canvas, caption] = crops.children[at].children, to = canvas.getContext("2d");
    const across = w + 2 * margin, down = h + 2 * margin, shown = size * ratio;
    canvas.width = across * shown;
    canvas.height = down * shown;
    canvas.style.width = across * size + "px";
    const part = image.naturalWidth / data.width; // of a frame that was scaled down for the page
    to.imageSmoothingEnabled = false;
    to.fillStyle = "#000";
    to.fillRect(0, 0, canvas.width, canvas.height);
    to.drawImage(image, (x - margin) * part, (y - margin) * part, across * part, down * part, 0, 0, canvas.width, canvas.height);
    to.fillStyle = "#0009";
    to.fillRect(0, 0, canvas.width, margin * shown);
    to.fillRect(0, canvas.height - margin * shown, canvas.width, margin * shown);
    to.fillRect(0, margin * shown, margin * shown, h * shown);
    to.fillRect(canvas.width - margin * shown, margin * shown, margin * shown, h * shown);
    to.strokeStyle = selected.color;
    to.lineWidth = ratio;
    to.strokeRect(margin * shown - ratio / 2, margin * shown - ratio / 2, w * shown + ratio, h * shown + ratio);
    caption.textContent = data.frames[at].time.toFixed(2) + " s, frame " + data.frames[at].index;
  });
}
const NUMBERS = [["x", "left"], ["y", "top"], ["w", "width"], ["h", "height"]];
function makeItem(region) {
  const item = document.createElement("li"), name = document.createElement("input"), button = document.createElement("button");
  item.style.setProperty("--c", region.color);
  name.className = "name";
  name.setAttribute("aria-label", "Name");
  name.addEventListener("input", () => { region.name = name.value.trim(); selected = region; update(); });
  button.type = "button";
  button.textContent = "Delete";
  button.addEventListener("click", () => { remove(region); update(); });
  const numbers = document.createElement("div");
  numbers.className = "numbers";
  for (const [key, text] of NUMBERS) {
    const label = document.createElement("label"), input = document.createElement("input");
    input.type = "number";
    input.min = key === "w" || key === "h" ? 1 : 0;
    input.max = key === "x" || key === "w" ? data.width : data.height;
    input.addEventListener("change", () => {
      const next = {...region, [key]: Number(input.value) || 0};
      place(region, next.x, next.y, next.w, next.h);
      selected = region;
      update();
    });
    label.append(text, input);
    numbers.append(label);
  }
  item.append(name, " ", button, numbers);
  item.addEventListener("focusin", () => { selected = region; update(); });
  return item;
}
const items = new Map();
function updateList() {
  for (const [region, item] of items) {
    if (!regions.includes(region)) {
      item.remove();
      items.delete(region);
    }
  }
  for (const region of regions) {
    if (!items.has(region)) {
      items.set(region, makeItem(region));
      list.append(items.get(region));
    }
    const item = items.get(region), name = item.querySelector(".name"), inputs = item.querySelectorAll(".numbers input");
    item.classList.toggle("selected", region === selected);
    if (document.activeElement !== name || name.value.trim() !== region.name) name.value = region.name;
    name.setCustomValidity(problemOf(region));
    NUMBERS.forEach(([key], at) => { inputs[at].value = region[key]; });
  }
  document.getElementById("empty").hidden = regions.length > 0;
}
function problemOf(region) {
  if (!NAME.test(region.name)) return "a name has letters, digits, _ and -, and begins with a letter";
  if (WORD.test(region.name)) return "this word means something else in YAML";
  const same = regions.some(other => other !== region && other.name.toLowerCase() === region.name.toLowerCase());
  return same ? "two regions have this name" : "";
}
function updateTexts() {
  const wrong = regions.find(problemOf);
  error.textContent = wrong ? JSON.stringify(wrong.name) + ": " + problemOf(wrong) : "";
  const good = wrong ? [] : regions, boxes = good.map(({name, x, y, w, h}) => [name, [x, y, w, h]]);
  const setting = "'regions={" + boxes.map(([name, box]) => name + ": [" + box.join(",") + "]").join(", ") + "}'";
  document.getElementById("yaml").value = boxes.map(([name, box]) => name + ": [" + box.join(", ") + "]\n").join("");
  document.getElementById("setting").value = boxes.length ? setting : "";
  document.getElementById("command").value = boxes.length ? "python -m textgen.cut " + data.source + " " + setting : "";
  for (const button of document.querySelectorAll(".copy button")) button.disabled = !boxes.length;
}
function update() {
  const frame = data.frames[Number(slider.value)];
  document.getElementById("when").textContent = frame.time.toFixed(2) + " s, frame " + frame.index;
  drawStage();
  drawCrops();
  updateList();
  updateTexts();
}
function fit() {
  const factor = Number(zoom.value);
  stage.style.width = factor ? data.width * factor + "px" : "100%";
  update();
}
for (const button of document.querySelectorAll(".copy button")) {
  button.addEventListener("click", async () => {
    const area = document.getElementById(button.dataset.for), said = document.getElementById("copied");
    area.select();
    let done = false;
    try {
      await navigator.clipboard.writeText(area.value);
      done = true;
    } catch { // not allowed, as in a file on some systems
      done = document.execCommand("copy");
    }
    said.textContent = done ? "Copied." : "The browser does not allow copying: press Ctrl+C, the text is selected.";
  });
}
slider.addEventListener("input", update);
zoom.addEventListener("change", fit);
window.addEventListener("resize", update);
selected = regions[0] || null;
fit();
Promise.all(pictures.map(image => image.decode().catch(() => null))).then(() => {
  update();
  document.documentElement.dataset.ready = "yes";
});
