// The few things that pages do by script; every page can be read and every form sent without.
"use strict";
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) { event.preventDefault(); return; }
  // A second press while the first is under way is the same press (the form's id says so to the server, too).
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
});
// The browser's own way back shows the page as it was: it may be sent again.
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));
