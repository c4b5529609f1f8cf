// Draws the screen that the agent decides, brings back what is pressed, plays what is said. It decides nothing itself.
"use strict";

const LOST = ["机器正在重新启动，请稍候。", "The machine is starting again, please wait."];
const KEYS = { Enter: "enter", Escape: "escape", "*": "listen", "+": "contrast", "-": "voice", "/": "language",
  PageUp: "page:-1", PageDown: "page:1", Backspace: "escape" };
const drawn = {};
let view = 0;
let spokenUpTo = null;
let waiting = [];
let playing = null;
let sending = Promise.resolve();

const place = (name) => document.getElementById(name);

function made(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// One after another: digits that overtake each other are another number.
function press(act) {
  const body = JSON.stringify({ act, view });
  sending = sending
    .then(() => fetch("/act", { method: "POST", headers: { "Content-Type": "application/json" }, body }))
    .catch(() => {});
}

function button(one) {
  const element = made("button", one.is_main ? "main" : "", one.label);
  element.type = "button";
  element.dataset.act = one.act;
  if (one.key) element.append(made("kbd", "", one.key));
  return element;
}

function good(one, tag) {
  const element = made(tag, "good");
  if (tag === "button") {
    element.type = "button";
    element.dataset.act = one.act || "choose:" + one.selection;
    element.setAttribute("aria-disabled", one.act === "");
  }
  let picture = made("span", "picture", one.sign);
  picture.setAttribute("aria-hidden", "true");
  if (one.picture) {
    picture = made("img", "picture");
    picture.src = one.picture;
    picture.alt = "";
  }
  const what = made("span", "what");
  what.append(made("span", "place", String(one.selection)), made("span", "name", one.name), made("span", "points", one.points));
  if (one.why_not) what.append(made("span", "why", one.why_not));
  element.append(picture, what);
  return element;
}

function code(address) {
  const element = made("img", "code");
  element.src = "/code.svg?" + encodeURIComponent(address);
  element.alt = address;
  return element;
}

function stage(one) {
  const element = made("li", "", one.label);
  element.dataset.state = one.state;
  return element;
}

// A region is made anew only when it differs: what a hand is about to touch stays the same element.
function region(name, values, make) {
  const told = JSON.stringify(values);
  if (drawn[name] === told) return;
  drawn[name] = told;
  place(name).replaceChildren(...values.map(make));
}

function text(name, words) {
  if (place(name).textContent !== words) place(name).textContent = words;
}

function draw(screen) {
  view = screen.view;
  document.documentElement.lang = screen.language === "zh" ? "zh-CN" : "en";
  document.documentElement.classList.toggle("contrast", screen.is_contrast);
  document.body.dataset.step = screen.step;
  document.body.dataset.good = screen.is_good;
  for (const name of ["telephone", "heading", "words", "notice", "typed"]) text(name, screen[name]);
  place("notice").classList.toggle("warning", screen.is_warning);
  region("bar", screen.bar, button);
  region("goods", screen.goods, (one) => good(one, "button"));
  region("shown", screen.shown ? [screen.shown] : [], (one) => good(one, "div"));
  region("pad", screen.pad, button);
  region("code", screen.address ? [screen.address] : [], code);
  region("stages", screen.stages, stage);
  region("buttons", screen.buttons, button);
  region("turning", screen.turning, button);
  speak(screen.spoken);
}

function speak(spoken) {
  const newest = spoken.length ? spoken[spoken.length - 1].number : 0;
  // What was said before this page was there is over.
  if (spokenUpTo === null) spokenUpTo = newest;
  for (const one of spoken) {
    if (one.number <= spokenUpTo) continue;
    if (!one.waits) hush();
    waiting.push(...one.clips.map((clip) => `/sound/${one.language}/${clip}.wav`));
  }
  spokenUpTo = Math.max(spokenUpTo, newest);
  if (playing === null) playNext();
}

function hush() {
  waiting = [];
  if (playing !== null) playing.pause();
  playing = null;
}

function playNext() {
  const address = waiting.shift();
  if (address === undefined) {
    playing = null;
    return;
  }
  const audio = new Audio(address);
  playing = audio;
  const next = () => { if (playing === audio) playNext(); };
  audio.addEventListener("ended", next);
  audio.addEventListener("error", next);
  audio.play().catch(next);
}

function lost() {
  spokenUpTo = null;
  hush();
  document.body.dataset.step = "lost";
  for (const name of ["goods", "shown", "stages", "pad", "code", "buttons", "turning"]) region(name, [], () => null);
  text("heading", LOST[document.documentElement.lang === "en" ? 1 : 0]);
  for (const name of ["words", "notice", "typed"]) text(name, "");
}

async function follow() {
  let after = 0;
  for (;;) {
    try {
      const answer = await fetch("/screen?after=" + after, { cache: "no-store" });
      const shown = await answer.json();
      if (shown !== null) {
        after = shown.number;
        draw(shown.screen);
      }
    } catch {
      // The agent has ended; its next run begins to count anew.
      after = 0;
      lost();
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

document.addEventListener("click", (event) => {
  const element = event.target.closest("[data-act]");
  if (element === null) return;
  press(element.dataset.act);
  // A finger leaves no focus behind: Enter then means what the screen says.
  if (event.detail > 0) element.blur();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const act = /^[0-9]$/.test(event.key) ? "digit:" + event.key : KEYS[event.key];
  if (act === undefined || (event.key === "Enter" && document.activeElement.dataset.act)) return;
  event.preventDefault();
  if (!event.repeat) press(act);
});

follow();
