// Printing by a button, and the part of a page that is live: it is asked for again and put in place of the old one.
// Without a script the browser's own menu prints, and a link or the page itself brings the next one.
"use strict";
document.querySelectorAll("[data-print]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
});
function live() {
  const part = document.querySelector("#live[data-live]");
  if (part) setTimeout(again, Number(part.dataset.live) * 1000);
}
async function again() {
  // A phone in the pocket asks for nothing.
  if (document.hidden) { document.addEventListener("visibilitychange", again, { once: true }); return; }
  try {
    const answer = await fetch(window.location.href, { redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const part = page.querySelector("#live");
    if (part) { document.querySelector("#live").replaceWith(document.adoptNode(part)); document.title = page.title; }
  } catch { /* No signal: the next try. */ }
  live();
}
live();
