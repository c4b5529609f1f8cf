// The front panel: draws what GET /state says, and acts by the requests of the control port. docs/simulator.md
"use strict";

const words = JSON.parse(document.body.dataset.words);
const language = document.body.dataset.language;
const LOOK_MS = 250; // a drop is seen at once, and a machine is not kept busy by it
const LOG_FRAMES = 120;
const MAX_KEYS = 16;
const SHORTEST_PIN = 4;
const COLOURS = ["#e4572e", "#f3a712", "#76b041", "#29a0b1", "#8e6ac8", "#d1495b", "#6c8ead", "#c08552"];
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function tell(text, isBad = false) {
  byId("told").textContent = text;
  byId("told").classList.toggle("bad", isBad);
}

// --- requests ---

async function ask(request, body) {
  const [method, path] = request.split(" ");
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  const said = await answer.json();
  if (answer.ok) return said;
  const errors = Object.entries(said.errors || {}).map(([field, text]) => `${field}: ${text}`);
  throw new Error(`${words.refused}${words.colon}${errors.join("; ") || said.code}`);
}

async function act(request, body, what) {
  try {
    await ask(request, body);
    tell(`${words.done}${words.colon}${what}`);
  } catch (error) {
    tell(error.message, true);
  }
  await look();
}

function inBrackets(text) {
  return words.brackets.replace("{}", text);
}

function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  if (input.type === "number") return input.value === "" ? null : Number(input.value);
  return input.value;
}

function valuesOf(form) {
  return Object.fromEntries([...form.querySelectorAll("[name]")].map((input) => [input.name, valueOf(input)]));
}

// --- the cabinet ---

function spiral() {
  const points = [];
  for (let step = 0; step <= 60; step += 1) {
    const angle = (step / 60) * 5 * Math.PI;
    const radius = 44 - step / 4;
    points.push(`${(60 + radius * Math.cos(angle)).toFixed(1)} ${(50 + radius * Math.sin(angle)).toFixed(1)}`);
  }
  return `M${points.join(" L")}`;
}

const COIL = spiral();

function nameOf(selection) {
  const name = now.names[selection];
  return name ? name[language] : "";
}

function colourOf(selection) {
  const name = nameOf(selection);
  const place = now.slots.findIndex((slot) => (name ? nameOf(slot.selection) === name : slot.selection === selection));
  return COLOURS[place % COLOURS.length]; // the same goods in the same colour
}

function box(selection, x, y, className) {
  const label = draw("text", { x: x + 22, y: y + 33, "text-anchor": "middle", "font-size": 20, fill: "#16191c" });
  label.textContent = [...(nameOf(selection) || String(selection))].slice(0, language === "zh" ? 2 : 3).join("");
  const body = draw("rect", { x, y, width: 44, height: 50, rx: 5, fill: colourOf(selection), stroke: "#16191c" });
  return draw("g", { class: className }, body, label);
}

function slotDrawing(slot) {
  const picture = draw("svg", { viewBox: "0 0 120 100", "aria-hidden": "true" });
  for (let place = Math.min(slot.items, 5) - 1; place >= 0; place -= 1) {
    if (!place) picture.append(draw("path", { class: "coil", d: COIL }));
    picture.append(box(slot.selection, 38 + place * 5, 38 - place * 6, place ? "behind" : "front"));
  }
  if (!slot.items) picture.append(draw("path", { class: "coil", d: COIL }));
  picture.append(draw("path", { d: "M4 96H116", stroke: "#9aa5ae", "stroke-width": 4 }));
  return picture;
}

function drawSlot(slot) {
  const name = nameOf(slot.selection);
  const points = now.names[slot.selection]?.points;
  const state = slot.items ? `${slot.items} ${words.items}` : words.sold_out;
  const label = [`${words.slot} ${slot.selection}`, name, points && `${points} ${words.points}`, state, slot.stuck && words.stuck];
  const button = make("button", { type: "button", class: "slot", "data-selection": slot.selection });
  button.setAttribute("aria-label", label.filter(Boolean).join(words.comma));
  button.classList.toggle("is-empty", slot.items === 0);
  button.classList.toggle("is-stuck", slot.stuck);
  const head = make("span", {}, make("b", {}, String(slot.selection)), name ? ` ${name}` : "");
  const feet = [points && `${points} ${words.points}`, state, slot.stuck && words.stuck].filter(Boolean);
  button.append(slotDrawing(slot), head, ...feet.map((foot) => make("span", {}, foot)));
  button.addEventListener("click", () => act("POST /press", { selection: slot.selection }, `${words.slot} ${slot.selection}`));
  return button;
}

const drawnSlots = new Map();

function showSlots() {
  for (const slot of now.slots) {
    const key = JSON.stringify([slot, now.names[slot.selection]]);
    let drawn = drawnSlots.get(slot.selection);
    if (!drawn || drawn.key !== key) {
      const button = drawSlot(slot);
      const hadFocus = drawn && document.activeElement === drawn.button;
      if (drawn) drawn.button.replaceWith(button);
      else {
        byId("slots").append(button);
        byId("once-of").append(make("option", { value: slot.selection }, String(slot.selection)));
      }
      if (hadFocus) button.focus();
      drawn = { key, button };
      drawnSlots.set(slot.selection, drawn);
    }
    drawn.button.classList.toggle("is-turning", now.turning === slot.selection);
  }
}

let taken = null;
let shownDrops = -1;

function showTray() {
  const drops = now.dropped;
  if (taken === null) taken = drops.length; // what fell before this page was opened has been taken
  if (drops.length === shownDrops) return;
  for (const drop of shownDrops < 0 ? [] : drops.slice(shownDrops)) {
    const button = drawnSlots.get(drop.selection)?.button;
    button?.classList.add("fell");
    setTimeout(() => button?.classList.remove("fell"), 700);
  }
  shownDrops = drops.length;
  const lying = drops.slice(taken).flatMap((drop) => Array(drop.items).fill(drop.selection)).slice(-8);
  byId("fallen").replaceChildren(...lying.map((selection, place) => box(selection, 4 + place * 49, 15, "item")));
  const names = lying.map((selection) => nameOf(selection) || `${words.slot} ${selection}`).join(words.comma);
  byId("tray-words").textContent = `${names || words.tray_empty}${inBrackets(words.dropped.replace("{}", now.items_dropped))}`;
}

function showScreen() {
  const screen = now.screen;
  const other = language === "zh" ? "en" : "zh";
  const said = now.powered ? (screen ? screen[language] : words.no_words) : words.no_power;
  const saidToo = now.powered && screen ? screen[other] : "";
  for (const place of ["said", "said-again"]) {
    if (byId(place).textContent !== said) byId(place).textContent = said;
  }
  if (byId("said-too").textContent !== saidToo) byId("said-too").textContent = saidToo;
  const address = (now.powered && screen && screen.address) || "";
  byId("address").hidden = !/^https?:/.test(address);
  if (byId("address").getAttribute("href") !== address) byId("address").setAttribute("href", address);
}

function showSwitches() {
  byId("cabinet").classList.toggle("is-off", !now.powered);
  byId("cabinet").classList.toggle("is-open", now.door_open);
  byId("power-is").textContent = now.powered ? words.on : words.off;
  byId("door-is").textContent = now.door_open ? words.is_open : words.is_closed;
  byId("temperature-is").textContent = now.temperature_c === null ? words.not_readable : `${now.temperature_c} °C`;
  byId("which").textContent = `${now.face} / ${now.profile}`;
  const lamps = [
    !now.powered && words.no_power,
    now.door_open && `${words.door}${words.colon}${words.is_open}`,
    now.turning !== null && `${words.slot} ${now.turning} ${words.turning}`,
  ].filter(Boolean);
  byId("lamps").replaceChildren(...lamps.map((lamp) => make("span", {}, lamp)));
}

// --- faults ---

let faults = null;
let shownFaults = "";

// What differs from the settings of a machine without faults, as `name value`.
function differing(given, plain, prefix) {
  return Object.entries(given)
    .filter(([name, value]) => name in plain && plain[name] !== value)
    .map(([name, value]) => `${words[prefix + name] || name} ${words[value] || value}`)
    .join(words.comma);
}

function plainOf(form) {
  return Object.fromEntries([...form.querySelectorAll("[name]")].map((input) => [input.name, plainValue(input)]));
}

function plainValue(input) {
  if (input.type === "checkbox") return input.defaultChecked;
  if (input.tagName === "SELECT") return input.options[0].value;
  return input.defaultValue === "" ? null : Number(input.defaultValue);
}

const formOf = (name) => document.querySelector(`[data-faults=${name}]`);

function showFaults() {
  const key = JSON.stringify(faults);
  if (key === shownFaults) return;
  shownFaults = key;
  const vend = plainOf(formOf("vend"));
  const one = (settings) => differing(settings, vend, "vend.");
  const said = [one(faults.vend)];
  for (const [number, settings] of Object.entries(faults.selections)) said.push(`${words.slot} ${number}${words.colon}${one(settings)}`);
  for (const entry of faults.once) {
    const coil = entry.selection === null ? "" : inBrackets(`${words.slot} ${entry.selection}`);
    said.push(`${words.next_vend}${coil}${words.colon}${one(entry)}`);
  }
  said.push(differing(faults.line, plainOf(formOf("line")), "line."));
  said.push(differing(faults, plainOf(formOf("machine")), ""));
  byId("in-force").textContent = said.filter(Boolean).join(words.semicolon) || words.none;
  if (!formOf("line").contains(document.activeElement)) fill(formOf("line"), faults.line);
  if (!formOf("machine").contains(document.activeElement)) fill(formOf("machine"), faults);
}

function fill(form, settings) {
  for (const input of form.querySelectorAll("[name]")) {
    const value = settings[input.name];
    if (input.type === "checkbox") input.checked = value;
    else input.value = value === null ? "" : value;
  }
}

function vendFaults(form) {
  const settings = valuesOf(form);
  const coil = valueOf(form.querySelector("[data-coil]"));
  switch (form.querySelector("[data-scope]").value) {
    case "vend":
      return { vend: settings };
    case "selections":
      return { selections: { [coil]: settings } };
    default:
      return { once: [{ selection: coil, ...settings }] };
  }
}

for (const form of document.querySelectorAll("[data-faults]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = form.dataset.faults;
    const change = { vend: vendFaults, line: (line) => ({ line: valuesOf(line) }), machine: valuesOf }[kind](form);
    act("PATCH /faults", change, words.faults);
  });
}

for (const button of document.querySelectorAll("[data-once]")) {
  button.addEventListener("click", () => {
    const coil = byId("once-of").value;
    const entry = { ...JSON.parse(button.dataset.once), selection: coil ? Number(coil) : null };
    act("PATCH /faults", { once: [entry] }, `${words.next_vend}${words.colon}${button.textContent}`);
  });
}

// --- forms, buttons, keys ---

for (const form of document.querySelectorAll("form[data-request]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(form.dataset.request, valuesOf(form), form.querySelector("button").textContent);
  });
}

for (const button of document.querySelectorAll("button[data-request]")) {
  button.addEventListener("click", () =>
    act(button.dataset.request, JSON.parse(button.dataset.body), button.textContent));
}

let typed = "";

// A keypad with a line of its own takes numbers and PINs too; the dispenser's own keys know selections only.
function enter(digits, what) {
  const isSelection = now.has_keys && digits.length < SHORTEST_PIN;
  if (now.has_keypad_line && !isSelection) act("POST /keys", { keys: `${digits}\n` }, what);
  else act("POST /press", { selection: Number(digits) }, `${what} ${digits}`);
}

function key(name) {
  if (name === "ok" || name === "cancel") {
    const entered = name === "ok" ? typed : "0";
    typed = "";
    if (entered) enter(entered, name === "ok" ? words.choose : words.cancel);
  } else if (typed.length < MAX_KEYS) {
    typed += name;
  }
  byId("typed").textContent = typed || "\u00a0";
}

for (const button of document.querySelectorAll("[data-key]")) {
  button.addEventListener("click", () => key(button.dataset.key));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, summary")) return;
  if (/^[0-9]$/.test(event.key)) key(event.key);
  else if (event.key === "Escape") key("cancel");
  else if (event.key === "Enter" && typed && !event.target.closest("button:not([data-key]), a")) {
    event.preventDefault();
    key("ok");
  }
});

byId("take").addEventListener("click", () => {
  taken = now.dropped.length;
  shownDrops = -2; // drawn anew, and nothing falls again
  showTray();
});

// --- traffic ---

let shownLog = "";
let isPaused = false;

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  byId("pause").textContent = isPaused ? words.go_on : words.pause;
});
byId("quiet").addEventListener("change", () => { shownLog = ""; });

function clock(atMs) {
  const at = new Date(Date.now() - (now.now_ms - atMs));
  return `${at.toTimeString().slice(0, 8)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

function inWords(frame) {
  if (!frame.ok) return `${words.bad}${words.colon}${frame.error}${frame.detail ? inBrackets(frame.detail) : ""}`;
  const fields = Object.entries(frame.fields || {}).filter(([, value]) => value !== null);
  return `${frame.name} ${fields.map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ")}`;
}

function showLog(frames) {
  const key = JSON.stringify(frames.slice(-1)) + frames.length;
  if (key === shownLog) return;
  shownLog = key;
  const last = {};
  const shown = frames.filter((frame) => {
    const isRepeat = last[frame.sender] === frame.bytes;
    last[frame.sender] = frame.bytes;
    return !(byId("quiet").checked && (isRepeat || frame.name === "ack"));
  });
  byId("log").replaceChildren(...shown.reverse().map((frame) => {
    const isHost = frame.sender === "host";
    return make("li", { class: [isHost && "host", !frame.ok && "wrong"].filter(Boolean).join(" ") },
      make("time", {}, clock(frame.at_ms)),
      make("span", {}, isHost ? `→ ${words.from_host}` : `← ${frame.sender}`),
      make("span", { class: "what" }, inWords(frame)),
      make("code", {}, frame.bytes));
  }));
  if (!shown.length) byId("log").append(make("li", {}, words.nothing_yet));
}

// --- looking ---

let now = null;
let isLooking = false;
let isLost = false;

async function look() {
  if (isLooking) return;
  isLooking = true;
  try {
    now = await ask("GET /state");
    if (isLost) tell("");
    isLost = false;
    showSlots();
    showTray();
    showScreen();
    showSwitches();
    faults = await ask("GET /faults");
    showFaults();
    if (!isPaused) showLog((await ask(`GET /log?limit=${LOG_FRAMES}`)).frames);
  } catch (error) {
    isLost = true;
    tell(words.no_answer, true);
  } finally {
    isLooking = false;
  }
}

async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, LOOK_MS);
}

watch();
